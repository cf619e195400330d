import { afterAll, beforeAll, expect } from "bun:test";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, waitFor } from "../steps/kubectl.ts";
import { type PodManifest, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** Filters for the pool server with two GPUs and for the one with one GPU. */
const [SERVER_A, SERVER_B] = ["server.hostname=bitfusion-pool-a", "server.hostname=bitfusion-pool-b"];
const KEEP_RUNNING = ["sleep", "3600"];

const CLASSES = [
  { metadata: { name: "e2e-urgent" }, value: 1000 },
  { metadata: { name: "e2e-polite" }, value: 1000, preemptionPolicy: "Never" },
];

beforeAll(async () => {
  for (const each of CLASSES) await apply({ apiVersion: "scheduling.k8s.io/v1", kind: "PriorityClass", ...each });
});

afterAll(async () => {
  await kubectl("delete", "priorityclass", ...CLASSES.map(({ metadata }) => metadata.name));
});

interface Options {
  num?: number;
  filter?: string;
  priority?: string;
  labels?: Record<string, string>;
}

/** A pod that keeps whole GPUs. */
function wholePod(namespace: string, name: string, options: Options = {}): PodManifest {
  const { num = 1, filter = SERVER_B, priority, labels = {} } = options;
  const pod = sharePod({ namespace, name, num, percent: 100, filter, command: KEEP_RUNNING });
  return {
    ...pod,
    metadata: { ...pod.metadata, ...({ labels } as object) },
    spec: { ...pod.spec, ...(priority ? { priorityClassName: priority } : {}) },
  };
}

async function waitForReady(namespace: string, selector: string): Promise<void> {
  await kubectl("wait", "-n", namespace, ...selector.split(" "), "--for=condition=Ready", "--timeout=120s");
}

interface Pod {
  metadata: { name: string; uid: string; deletionTimestamp?: string };
  spec: { nodeName?: string };
  status: { phase: string; conditions?: { type: string; message?: string }[] };
}

async function podsOf(namespace: string, selector: string): Promise<Pod[]> {
  const { items } = await get<{ items: Pod[] }>("pods", "-n", namespace, "-l", selector);
  return items.filter(({ metadata }) => !metadata.deletionTimestamp);
}

async function eventsOf(namespace: string, reason: string): Promise<{ pod: string; message: string }[]> {
  interface Event {
    involvedObject: { name: string };
    message: string;
  }
  const { items } = await get<{ items: Event[] }>("events", "-n", namespace, `--field-selector=reason=${reason}`);
  return items.map(({ involvedObject, message }) => ({ pod: involvedObject.name, message }));
}

/** Waits until the scheduler has tried a pod in vain, for this reason. */
async function waitUntilTried(namespace: string, name: string, reason: string): Promise<void> {
  await waitFor(`the scheduler to say "${reason}" of ${name}`, async () => {
    const { status } = await get<Pod>("pod", name, "-n", namespace);
    const [message = ""] =
      status.conditions?.find(({ type }) => type === "PodScheduled")?.message?.split("preemption") ?? [];
    return message.includes(reason);
  });
}

async function nodeOf(namespace: string, name: string): Promise<string | undefined> {
  return (await get<Pod>("pod", name, "-n", namespace)).spec.nodeName;
}

scenario(
  "a pod of high priority gets the GPU of a Job, whose next pod waits until the GPU is free",
  async (namespace) => {
    const { metadata, spec } = wholePod(namespace, "low");
    const labels = { app: "low" };
    await apply({
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "low", namespace },
      spec: {
        backoffLimit: 0,
        podFailurePolicy: { rules: [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget" }] }] },
        template: { metadata: { annotations: metadata.annotations, labels }, spec },
      },
    });
    await waitFor("the Job's pod", async () => (await podsOf(namespace, "app=low")).length === 1);
    await waitForReady(namespace, "pod -l app=low");
    const [victim] = (await podsOf(namespace, "app=low")) as [Pod];
    await apply(wholePod(namespace, "bystander", { filter: SERVER_A })); // of no use for the pod below
    await waitForReady(namespace, "pod/bystander");

    const start = performance.now();
    await apply(wholePod(namespace, "urgent", { priority: "e2e-urgent" }));
    await waitForReady(namespace, "pod/urgent");
    console.log(`e2e: the urgent pod was ready after ${((performance.now() - start) / 1000).toFixed(1)} s`);
    const { metadata: urgent } = await get<Pod>("pod", "urgent", "-n", namespace);
    const preempted = await eventsOf(namespace, "Preempted");
    expect(preempted.map(({ pod }) => pod)).toEqual([victim.metadata.name]);
    expect(preempted[0]?.message).toStartWith(`Preempted by pod ${urgent.uid} on GPU bitfusion-`);
    expect((await eventsOf(namespace, "Preempting")).map(({ pod }) => pod)).toEqual(["urgent"]);

    await waitFor("the next pod of the Job", async () => {
      const [next] = await podsOf(namespace, "app=low");
      return next !== undefined && next.metadata.uid !== victim.metadata.uid;
    });
    const [next] = (await podsOf(namespace, "app=low")) as [Pod];
    await waitUntilTried(namespace, next.metadata.name, "cannot allocate all claims");
    await kubectl("delete", "pod", "urgent", "-n", namespace);
    await waitForReady(namespace, `pod/${next.metadata.name}`);
    expect((await eventsOf(namespace, "Preempted")).length).toBe(1);
  },
);

scenario(
  "the next pod of a Deployment waits beside the pod of high priority, and does not take its GPU",
  async (namespace) => {
    const { metadata, spec } = wholePod(namespace, "low");
    const labels = { app: "low" };
    await apply({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "low", namespace },
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { annotations: metadata.annotations, labels },
          spec: { ...spec, restartPolicy: "Always", terminationGracePeriodSeconds: 10 },
        },
      },
    });
    await kubectl("wait", "-n", namespace, "deployment/low", "--for=condition=Available", "--timeout=120s");
    await apply(wholePod(namespace, "urgent", { priority: "e2e-urgent" }));
    await waitForReady(namespace, "pod/urgent");
    expect((await eventsOf(namespace, "Preempted")).length).toBe(1);
    const [next] = (await podsOf(namespace, "app=low")) as [Pod];
    await waitUntilTried(namespace, next.metadata.name, "cannot allocate all claims");
  },
);

scenario(
  "nobody is evicted in vain",
  async (namespace) => {
    const labels = { app: "protected" };
    await apply({
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: "protected", namespace },
      spec: { minAvailable: 1, selector: { matchLabels: labels } },
    });
    await apply(wholePod(namespace, "protected", { labels }));
    await waitForReady(namespace, "pod/protected");
    await apply(wholePod(namespace, "important", { filter: SERVER_A, priority: "e2e-urgent" }));
    await waitForReady(namespace, "pod/important");
    await apply(wholePod(namespace, "low", { filter: SERVER_A }));
    await waitForReady(namespace, "pod/low");

    // These cannot run, whoever is evicted; or may not evict.
    await apply(wholePod(namespace, "pair", { num: 2, filter: SERVER_A, priority: "e2e-urgent" }));
    const large = wholePod(namespace, "large", { filter: SERVER_A, priority: "e2e-urgent" });
    const [container] = large.spec.containers;
    if (container) container.resources = { ...share(1, 100), requests: { cpu: "1000" } };
    await apply(large);
    await apply(wholePod(namespace, "polite", { filter: SERVER_A, priority: "e2e-polite" }));
    await apply(wholePod(namespace, "blocked", { priority: "e2e-urgent" }));
    await waitUntilTried(namespace, "pair", "cannot allocate all claims");
    await waitUntilTried(namespace, "large", "Insufficient cpu");
    await waitUntilTried(namespace, "polite", "cannot allocate all claims");
    await waitFor("the Event of the blocked pod", async () => {
      const events = await eventsOf(namespace, "PreemptionBlocked");
      return events.some(({ pod, message }) => pod === "blocked" && message.includes("disruption budgets"));
    });
    expect(await eventsOf(namespace, "Preempted")).toEqual([]);

    // The controller is not idle: without the budget, it evicts.
    await kubectl("delete", "pdb", "protected", "-n", namespace);
    await waitForReady(namespace, "pod/blocked");
    expect((await eventsOf(namespace, "Preempted")).map(({ pod }) => pod)).toEqual(["protected"]);
    const waiting = ["pair", "large", "polite"].map((name) => nodeOf(namespace, name));
    expect(await Promise.all(waiting)).toEqual([undefined, undefined, undefined]);
    expect((await podsOf(namespace, "")).map(({ metadata }) => metadata.name)).toContain("low");
  },
  { timeout: 300_000 },
);

scenario("the controller may evict no pod of the control plane", async (namespace) => {
  const evict = (target: string, name: string) => {
    const body = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace: target } };
    const path = `/api/v1/namespaces/${target}/pods/${name}/eviction?dryRun=All`;
    const account = "--as=system:serviceaccount:bitfusion-system:bitfusion-controller";
    return exec(["kubectl", "create", "--raw", path, "-f", "-", account], { stdin: JSON.stringify(body) }).catch(
      String,
    );
  };
  const [scheduler] = (await get<{ items: Pod[] }>("pods", "-n", "kube-system", "-l", "component=kube-scheduler"))
    .items;
  const refusal = "The controller may evict no pods of the control plane";
  expect(await evict("kube-system", scheduler?.metadata.name ?? "")).toContain(refusal);
  expect(await evict(namespace, "none")).toContain("not found");
});
