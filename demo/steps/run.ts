import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { explain, heading, show, toYaml } from "../print.ts";
import { waitFor } from "../wait_for.ts";
import type { Demo } from "./demo.ts";
import { showLeases } from "./leases.ts";
import { claimsOf, currentPod, devicesOf, finishTraining, readManifest, waitForPhase } from "./pods.ts";

/** Follows the first pod from its allocation to its end. */
export async function showRun(number: number, demo: Demo): Promise<void> {
  const { name } = (await readManifest()).metadata;
  heading(
    number,
    "A GPU for the pod",
    "The scheduler (simulated; on a cluster this is kube-scheduler) allocates 60 units of one device to the claim:",
  );
  const isAllocated = () => (devicesOf(demo, currentPod(demo, name)).length > 0 ? true : undefined);
  await waitFor(`the allocation of pod ${name}`, isAllocated, demo.signal);
  const pod = currentPod(demo, name);
  for (const { metadata, status } of claimsOf(demo, pod)) {
    const claim = {
      kind: "ResourceClaim",
      metadata: { name: metadata.name },
      status: { allocation: status?.allocation },
    };
    show(toYaml(claim, ["consumedCapacity"]));
  }

  explain(
    "The kubelet (simulated) asks the driver to prepare the claim. The driver writes a CDI file for the container:",
  );
  await waitForPhase(demo, name, "Running");
  const { cdiDirectory } = demo.driver;
  for (const file of await readdir(cdiDirectory)) {
    show(`/var/run/cdi/${file}`);
    show(toYaml(JSON.parse(await readFile(join(cdiDirectory, file), "utf8")).devices, ["env"]));
  }

  explain(
    "The container's command runs under the client, which takes a lease on exactly this GPU from its pool server:",
  );
  show(`$ ${pod.spec.containers[0]?.command?.join(" ")}`);
  await showLeases(demo, [name]);

  explain("The command ends, and the client releases the lease:");
  const exitCode = await finishTraining(demo, name);
  for (const line of demo.node.logs(name)) show(`| ${line}`);
  show(`exit status: ${exitCode}`);
  await showLeases(demo, []);
}
