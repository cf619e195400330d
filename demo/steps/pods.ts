import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { formatTime } from "../../kubernetes/formats/time.ts";
import { PODS, type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import type { DeviceAllocation, ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { claimOf } from "../../kubernetes/simulated/pods.ts";
import { admit } from "../cluster/admission.ts";
import { waitFor } from "../wait_for.ts";
import type { Demo } from "./demo.ts";

const MANIFEST = "demo/pod.yaml";

/** The pod of the manifest, with another name if one is given. */
export async function readManifest(name?: string): Promise<Pod> {
  const pod: Pod = parse(await Bun.file(MANIFEST).text());
  return name === undefined ? pod : { ...pod, metadata: { ...pod.metadata, name } };
}

/** Creates a pod as `kubectl apply` does. Returns it as the API server stores it. */
export async function createPod({ store, webhook }: Demo, pod: Pod): Promise<Pod> {
  const path = podPath(pod);
  const { metadata, ...admitted } = await admit(pod, webhook);
  store.put(path, { ...admitted, metadata: { ...metadata, creationTimestamp: formatTime(Date.now()) } });
  return store.get<Pod>(path) as Pod;
}

/** The pod with this name as it is now. @throws {Error} if it does not exist. */
export function currentPod({ store }: Demo, name: string): Pod {
  const pod = store.list<Pod>(PODS).find(({ metadata }) => metadata.name === name);
  if (!pod) throw new Error(`Pod ${name} does not exist`);
  return pod;
}

/** Waits until a pod is in this phase. @throws {Error} with the log of the pod if it failed instead. */
export async function waitForPhase(demo: Demo, name: string, phase: "Running" | "Succeeded"): Promise<Pod> {
  const read = () => {
    const pod = currentPod(demo, name);
    if (pod.status?.phase === "Failed") {
      throw new Error([`Pod ${name} failed: ${pod.status.message ?? ""}`, ...demo.node.logs(name)].join("\n"));
    }
    return pod.status?.phase === phase ? pod : undefined;
  };
  return waitFor(`pod ${name} to be ${phase}`, read, demo.signal);
}

/**
 * Ends the training of a pod, and waits until the pod has succeeded. Returns the exit status of the client.
 *
 * @throws {Error} if the status is not 0.
 */
export async function finishTraining(demo: Demo, name: string): Promise<number> {
  await writeFile(join(demo.hostRoot, "home/code", `stop-${name}`), "");
  const { status } = await waitForPhase(demo, name, "Succeeded");
  const exitCode = status?.containerStatuses?.[0]?.state?.terminated?.exitCode;
  if (exitCode === undefined) throw new Error(`Pod ${name} has succeeded without a container`);
  return exitCode;
}

/** The claims of a pod that exist. */
export function claimsOf({ store }: Demo, pod: Pod): ResourceClaim[] {
  return (pod.spec.resourceClaims ?? []).flatMap(({ name }) => claimOf(store, pod, name) ?? []);
}

/** The devices that the scheduler has allocated to a pod. */
export function devicesOf(demo: Demo, pod: Pod): readonly DeviceAllocation[] {
  return claimsOf(demo, pod).flatMap(({ status }) => status?.allocation?.devices?.results ?? []);
}
