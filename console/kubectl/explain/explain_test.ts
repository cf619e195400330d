import { expect, test } from "bun:test";
import type { Pod } from "../../../kubernetes/objects/pod.ts";
import { claim, device, pod, slice, TIME } from "../../view/testing.ts";
import { forbidden, startCluster, type TestCluster } from "../testing.ts";
import type { Step, StepState } from "./steps.ts";

const SLICES = [slice("bitfusion-0", [device("gpu-1", "10.0.0.5:56001"), device("gpu-2", "10.0.0.5:56001")])];
const HELD = claim("train", { held: [["bitfusion-0/gpu-1", 50]], ready: "True" });
const RUNNING = pod("train", { node: "node-1", phase: "Running" });

const event = (kind: string, name: string, reason: string, message: string) => ({
  metadata: { name: `${name}.1`, namespace: "team" },
  involvedObject: { kind, namespace: "team", name },
  type: "Warning",
  reason,
  message,
  count: 2,
  lastTimestamp: TIME,
});

/** The steps as `name state`, and the one that is not as it should be. */
async function explain(cluster: TestCluster, target: string) {
  const { status, stdout, stderr } = await cluster.run(`explain ${target} -o json`);
  if (status !== 0) throw new Error(stderr);
  const { about, note, steps } = JSON.parse(stdout) as { about: string; note?: string; steps: Step[] };
  const states = Object.fromEntries(steps.map(({ name, state }) => [name, state]));
  return { about, note, states, stuck: steps.find(({ state }) => state !== "ok") };
}

const ALL_OK: Record<string, StepState> = {
  admission: "ok",
  quota: "ok",
  claims: "ok",
  allocation: "ok",
  node: "ok",
  lease: "ok",
  gate: "ok",
  containers: "ok",
};

test("explain shows each step of a pod that runs", async () => {
  await using cluster = startCluster({ slices: SLICES, claims: [HELD], pods: [RUNNING] });
  cluster.api.store.put("/api/v1/namespaces/team/resourcequotas/gpus", {
    status: { hard: { "requests.bitfusion.io/gpu": "200" }, used: { "requests.bitfusion.io/gpu": "50" } },
  });
  const { status, stdout, stderr } = await cluster.run("explain train");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toBe(`pod/train in the namespace team

✓ admission   Admitted with 50 units of bitfusion.io/gpu
✓ quota       Counts 50 units: 50 of 200 units of the quota gpus are used
✓ claims      Its claim exists
✓ allocation  Holds 50 % of 10.0.0.5:56001/gpu-1
✓ node        Bound to node node-1
✓ lease       Held on 10.0.0.5:56001
✓ gate        No NetworkPolicy restricts what leaves the pod
✓ containers  They run
`);
});

test("explain says what a waiting pod lacks, and what to do", async () => {
  const waits = pod("big", { share: "1x100" });
  const claims = [HELD, claim("other", { units: 60, held: [["bitfusion-0/gpu-2", 60]] }), claim("big", { units: 100 })];
  await using cluster = startCluster({ slices: SLICES, claims, pods: [RUNNING, waits] });
  const { states, stuck } = await explain(cluster, "pod/big");
  expect(states).toMatchObject({ claims: "ok", allocation: "waiting", node: "later", gate: "later" });
  expect(stuck).toEqual({
    name: "allocation",
    state: "waiting",
    text: "needs 100 % of one GPU; the freest has 50 %",
    advice: "kubectl bitfusion pods -A shows who holds the GPUs; a smaller share, or fewer filters, may find room",
  });
});

test("explain tells why the driver cannot prepare the claim of a bound pod", async () => {
  const message = "Pool server 10.0.0.5:56001 cannot be reached";
  const events = [event("Pod", "train", "FailedPrepareDynamicResources", message)];
  const claims = [claim("train", { held: [["bitfusion-0/gpu-1", 50]] })];
  await using cluster = startCluster({ slices: SLICES, claims, pods: [pod("train", { node: "node-1" })], events });
  const { stuck } = await explain(cluster, "train");
  expect(stuck).toMatchObject({ name: "lease", state: "waiting", text: message });
  expect(stuck?.advice).toContain("kubectl logs -n bitfusion-node");
});

test("explain sees a node whose driver is not ready, and a NetworkPolicy that closes the gate", async () => {
  await using cluster = startCluster({ slices: SLICES, claims: [HELD], pods: [RUNNING] });
  cluster.api.store.put("/api/v1/nodes/node-1", {});
  cluster.api.store.put("/apis/networking.k8s.io/v1/namespaces/team/networkpolicies/deny", {
    spec: { podSelector: {}, policyTypes: ["Egress"] },
  });
  const { states } = await explain(cluster, "train");
  expect(states).toEqual({ ...ALL_OK, node: "failed", gate: "failed" });
  expect((await cluster.run("explain train")).stdout).toMatch(
    /✗ gate {8}Closed by the NetworkPolicy deny: .*\n {14}→ Add an egress rule for TCP port 56002/,
  );
});

const unannotated = (limits: Record<string, string>, annotations: Record<string, string> = {}): Pod => ({
  metadata: { name: "plain", namespace: "team", uid: "uid-plain", annotations },
  spec: { containers: [{ name: "main", image: "x", resources: { limits } }] },
});

test.each<[Record<string, string>, Record<string, string>, text: string, advice: string]>([
  [{}, {}, "No container of the pod requests GPUs of the pool", "Set the limits bitfusion.io/gpu-num"],
  [
    { "nvidia.com/gpu": "1" },
    {},
    "The pod requests nvidia.com/gpu, but neither the pod has the annotation auto-management/bitfusion",
    'Create the pod again with auto-management/bitfusion: "yes", or after kubectl label namespace team',
  ],
  [
    { "bitfusion.io/gpu-num": "1" },
    { "auto-management/bitfusion": "none" },
    'but its annotation auto-management/bitfusion is "none"',
    "Create the pod again with",
  ],
  [
    { "bitfusion.io/gpu-num": "1" },
    { "auto-management/bitfusion": "yes" },
    "the webhook has not seen it",
    "Create the pod again",
  ],
])(
  "explain says why a pod with the limits %j and annotations %j has no share",
  async (limits, annotations, text, advice) => {
    await using cluster = startCluster({ slices: SLICES, pods: [unannotated(limits, annotations)] });
    const { states, stuck } = await explain(cluster, "plain");
    expect(states).toEqual({ admission: "failed" });
    expect(stuck?.text).toContain(text);
    expect(stuck?.advice).toStartWith(advice);
  },
);

test("explain shows why an owner has no pods: what the webhook or the quota says", async () => {
  const events = [
    event("Job", "bad", "FailedCreate", 'admission webhook "inject.bitfusion.io" denied the request: percent is 0'),
    event("ReplicaSet", "llm-5d8f", "FailedCreate", "exceeded quota: gpus, requested: requests.bitfusion.io/gpu=50"),
  ];
  await using cluster = startCluster({ slices: SLICES, events });
  for (const target of ["job/bad", "bad", "bad-x7k2p"]) {
    const { about, stuck } = await explain(cluster, target);
    expect(about).toBe("job/bad");
    expect(stuck).toMatchObject({ name: "admission", state: "failed" });
    expect(stuck?.text).toEndWith(
      '(2 times): admission webhook "inject.bitfusion.io" denied the request: percent is 0',
    );
  }
  const { stuck } = await explain(cluster, "deployment/llm");
  expect(stuck).toMatchObject({ name: "quota", state: "failed" });
  expect(stuck?.advice).toStartWith("Delete pods that count in the namespace team");
});

test("explain of an owner takes a pod that waits", async () => {
  const ownedBy = (made: Pod, kind: string, name: string): Pod => ({
    ...made,
    metadata: {
      ...made.metadata,
      labels: { "pod-template-hash": "5d8f" },
      ownerReferences: [{ apiVersion: "x", kind, name, uid: "x", controller: true }],
    },
  });
  const pods = [ownedBy(RUNNING, "ReplicaSet", "llm-5d8f"), ownedBy(pod("waits"), "ReplicaSet", "llm-5d8f")];
  await using cluster = startCluster({ slices: SLICES, claims: [HELD], pods });
  const { about, note } = await explain(cluster, "deploy/llm");
  expect([about, note]).toEqual(["pod/waits", "One of 2 pods: train, waits"]);
  expect((await cluster.run("explain job/llm")).stderr).toStartWith(
    "error: Cannot find a pod of a Job with the name llm",
  );
  expect((await cluster.run("explain cronjob/llm")).stderr).toContain("expected one of the types pod, job, deployment");
});

test("explain goes on without what the user may not read", async () => {
  const hidden = ["/resourcequotas", "/networkpolicies", "/nodes/", "/namespaces/team"];
  await using cluster = startCluster({ slices: SLICES, claims: [HELD], pods: [RUNNING] }, ({ url }) =>
    hidden.some((each) => url.split("?")[0]?.endsWith(each)) ? forbidden("no") : undefined,
  );
  const { states } = await explain(cluster, "train");
  expect(states).toEqual({ ...ALL_OK, quota: "unknown", gate: "unknown" });
});

test("explain of a pod that has ended says how", async () => {
  const ended = pod("train", { node: "node-1", phase: "Failed" });
  await using cluster = startCluster({
    slices: SLICES,
    pods: [{ ...ended, status: { ...ended.status, message: "OOM" } }],
  });
  const { stuck } = await explain(cluster, "train");
  expect(stuck).toMatchObject({ name: "containers", text: "Have failed: OOM; the GPUs are given back" });
});
