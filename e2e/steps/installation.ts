import { addClient } from "../cluster/install.ts";
import { get, kubectl, waitFor } from "./kubectl.ts";

/** The kustomizations of the cluster of the tests. */
export const KUSTOMIZATIONS = { claims: "kind", units: "e2e/cluster/units" } as const;

const PROGRAMS = [
  ["deployment/bitfusion-webhook", "bitfusion-system"],
  ["deployment/bitfusion-controller", "bitfusion-system"],
  ["daemonset/bitfusion-device-plugin", "bitfusion-node"],
] as const;

/** Time limit for a test or hook that installs, in ms. */
export const INSTALL_TIMEOUT = 240_000;

/**
 * Installs the programs over those that run, unless they already share the pool in this way. Waits until the earlier pods are removed: they respond
 * until then.
 */
export async function install(allocation: keyof typeof KUSTOMIZATIONS): Promise<void> {
  if ((await installed()) === allocation) return;
  await kubectl("apply", "-k", KUSTOMIZATIONS[allocation]);
  await addClient();
  await Promise.all(PROGRAMS.map(([program, namespace]) => waitForRollout(program, namespace)));
}

/** Undefined if nothing is installed. */
async function installed(): Promise<keyof typeof KUSTOMIZATIONS | undefined> {
  const { items } = await get<{ items: { webhooks: { sideEffects: string }[] }[] }>(
    "mutatingwebhookconfigurations",
    "--field-selector=metadata.name=bitfusion-webhook",
  );
  const [webhook] = items.flatMap(({ webhooks }) => webhooks);
  return webhook && (webhook.sideEffects === "None" ? "claims" : "units"); // only with units does the webhook write
}

/** Waits until all pods of a program are new, and its old pods are removed. @throws {ExecError} after two minutes. */
async function waitForRollout(program: string, namespace: string): Promise<void> {
  const inNamespace = ["-n", namespace];
  await kubectl("rollout", "status", ...inNamespace, program, "--timeout=120s");
  const label = `app.kubernetes.io/name=${program.split("/")[1]}`;
  await waitFor(`the old pods of ${program} to be removed`, async () => {
    const { spec, status } = await get<Workload>(program, ...inNamespace);
    const { items } = await get<{ items: unknown[] }>("pods", ...inNamespace, "-l", label);
    return items.length === (spec.replicas ?? status.desiredNumberScheduled);
  });
}

/** The fields of a Deployment or DaemonSet that say how many pods it has. */
interface Workload {
  readonly spec: { readonly replicas?: number };
  readonly status: { readonly desiredNumberScheduled?: number };
}

/** Gives the webhook another client catalogue, which it loads within a few seconds. */
export async function writeCatalogue(text: string): Promise<void> {
  const patch = JSON.stringify({ data: { "clients.yaml": text } });
  await kubectl("patch", "configmap", "bitfusion-clients", "-n", "bitfusion-system", "--type=merge", "-p", patch);
  // The kubelet updates the volumes of a changed pod immediately, not within a minute.
  const selector = "app.kubernetes.io/name=bitfusion-webhook";
  const stamp = `e2e=${crypto.randomUUID()}`;
  await kubectl("annotate", "pods", "-n", "bitfusion-system", "-l", selector, "--overwrite", stamp);
}

/** Sets or removes a variable of a Deployment. Waits until its old pods are removed: they respond until then. */
export async function setEnvironment(deployment: string, setting: string): Promise<void> {
  await kubectl("set", "env", "-n", "bitfusion-system", `deployment/${deployment}`, setting);
  await waitForRollout(`deployment/${deployment}`, "bitfusion-system");
}

/** Sets or removes a variable of the program of the nodes. Waits until its old pods are removed. */
export async function setNodeEnvironment(setting: string): Promise<void> {
  const [program, namespace] = ["daemonset/bitfusion-device-plugin", "bitfusion-node"];
  await kubectl("set", "env", "-n", namespace, program, setting);
  await waitForRollout(program, namespace);
}
