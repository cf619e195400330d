import { expect } from "bun:test";
import { exec } from "./exec.ts";
import { apply, get, kubectl, waitFor } from "./kubectl.ts";
import { sharePod } from "./pods.ts";

const KEEP_RUNNING = ["sleep", "3600"];

interface Status {
  status: { phase: string; containerStatuses: { restartCount: number }[] };
}

/** Checks that a pod has run without interruption. */
export async function expectUndisturbed({ namespace, name }: { namespace: string; name: string }): Promise<void> {
  const { status } = await get<Status>("pod", name, "-n", namespace);
  expect([status.phase, status.containerStatuses.map(({ restartCount }) => restartCount)]).toEqual(["Running", [0]]);
}

export interface StartedPod {
  namespace: string;
  name: string;
  /** Any node if absent. */
  node?: string;
}

/** Starts a pod that keeps running. */
export async function startPod({ namespace, name, node }: StartedPod): Promise<void> {
  await apply(sharePod({ namespace, name, num: 1, percent: 5, command: KEEP_RUNNING, ...(node ? { node } : {}) }));
  await kubectl("wait", "-n", namespace, `pod/${name}`, "--for=condition=Ready", "--timeout=120s");
}

/** The name of the pod of a workload, once it has been created. */
export async function podOf(namespace: string, name: string): Promise<string> {
  let pod = "";
  await waitFor(`the pod of ${name}`, async () => {
    pod = (await kubectl("get", "pods", "-n", namespace, "-l", `app=${name}`, "-o", "name")).trim();
    return pod !== "";
  });
  return pod.replace("pod/", "");
}

/** The published GPUs. */
export async function publishedGpus(): Promise<object[]> {
  const { items } = await get<{ items: { spec: { devices?: object[] } }[] }>("resourceslices");
  return items.flatMap(({ spec }) => spec.devices ?? []);
}

/** What the webhook may do with Secrets of a namespace. */
export async function secretRights(namespace: string): Promise<string[]> {
  const account = "--as=system:serviceaccount:bitfusion-system:bitfusion-webhook";
  const can = (...what: string[]) =>
    exec(["kubectl", "auth", "can-i", account, "-n", namespace, ...what]).then(
      () => [what.join(" ")],
      () => [], // exit status 1: no
    );
  return (
    await Promise.all([can("get", "secrets"), can("get", "secrets/bitfusion-secret"), can("create", "secrets")])
  ).flat();
}
