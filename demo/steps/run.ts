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
    "The kubelet (simulated) asks the driver to prepare the claim. The driver takes a lease on exactly this GPU from its pool server:",
  );
  await waitForPhase(demo, name, "Running");
  await showLeases(demo, [name]);

  explain("What proves the lease is in a folder that only the claim's containers get, by a CDI file:");
  const { cdiDirectory } = demo.driver;
  for (const file of await readdir(cdiDirectory)) {
    show(`/var/run/cdi/${file}`);
    show(toYaml(JSON.parse(await readFile(join(cdiDirectory, file), "utf8")).devices, ["env", "mounts"]));
  }

  explain("The container's command runs under the client, which proves the lease to the pool server:");
  show(`$ ${pod.spec.containers[0]?.command?.join(" ")}`);

  explain("The command ends, the kubelet unprepares the claim, and the driver releases the lease:");
  const exitCode = await finishTraining(demo, name);
  for (const line of demo.node.logs(name)) show(`| ${line}`);
  show(`exit status: ${exitCode}`);
  await showLeases(demo, []);
}
