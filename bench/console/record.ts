/* Records the objects of a cluster with 1,000 GPUs, which the project's programs made: `bun bench/console/record.ts`. It takes two minutes. */
import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { RECORDED_CLUSTER } from "../../console/recorded/recorded_cluster.ts";
import type { Cluster } from "../../console/view/testing.ts";
import { admit, type PodWebhook } from "../../demo/cluster/admission.ts";
import { startDriver } from "../../demo/programs/driver.ts";
import { startWebhook } from "../../demo/programs/webhook.ts";
import { allocate } from "../../demo/scheduler.ts";
import type { DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import { PODS, type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import { claimPath, RESOURCE_CLAIMS, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import { claimOf, setPodStatus } from "../../kubernetes/simulated/pods.ts";
import { TEST_TOKEN } from "../../pool/token/testing.ts";
import { messageOf } from "../../program/log/log.ts";
import { startProgram } from "../../program/processes/child_program.ts";
import { type RunningPoolServer, startPoolServer } from "../../server/testing.ts";
import { createCertificate } from "../../tls/certificate.ts";
import { createRandom } from "../common/random.ts";

const SERVERS = 125;
const GPUS_PER_SERVER = 8;
const PODS_TOTAL = 480;
const NODES = ["node-a", "node-b", "node-c", "node-d"];
/** Far longer than anything takes, in ms. */
const TIMEOUT = 180_000;

await using resources = new AsyncDisposableStack();
const folder = resources.use(await mkdtempDisposable(join(tmpdir(), "rec-"))).path;
const random = createRandom(19);

const servers: RunningPoolServer[] = [];
for (let index = 0; index < SERVERS; index++) {
  const hostname = `gpu-${String(index + 1).padStart(3, "0")}`;
  servers.push(resources.use(await startPoolServer({ hostname, gpus: GPUS_PER_SERVER, memoryMb: 80_000 })));
}
const addresses = servers.map(({ address }) => address);

const { ca, cert, key } = await createCertificate(["localhost"], Date.now());
const api = resources.use(startSimulatedApiServer({ tls: { cert, key } }));
const { store } = api;
const kubeconfig = join(folder, "kubeconfig");
await writeFile(kubeconfig, kubeconfigOf(api.url, { ca }), { mode: 0o600 });
store.put("/api/v1/namespaces/bitfusion-system", {});
const data = Object.fromEntries(Object.entries(TEST_TOKEN).map(([name, text]) => [name, btoa(text)]));
store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", { data });

const list = addresses.join(",");
const controller = startProgram("controller/main.ts", {
  environment: { KUBECONFIG: kubeconfig, POOL_SERVERS: list, INTERVAL: "5" },
  ready: "Leading",
});
resources.use(controller);
const webhook = resources.use(await startWebhook({ folder, kubeconfig, servers: addresses }));
const drivers = new Map<string, Awaited<ReturnType<typeof startDriver>>>();
for (const name of NODES) {
  const own = join(folder, name);
  await mkdir(own);
  const options = { folder: own, kubeconfig, servers: addresses, nodeName: name };
  drivers.set(name, resources.use(await startDriver(options)));
}
await Promise.all([controller.started, webhook.waitUntilReady(AbortSignal.timeout(TIMEOUT))]);
for (const driver of drivers.values()) await driver.waitUntilRegistered(AbortSignal.timeout(TIMEOUT));
const slices = () => store.list<ResourceSlice>(RESOURCE_SLICES);
await until("all slices", () => devices().length === SERVERS * GPUS_PER_SERVER);
console.log(`${slices().length} slices`);

for (let index = 0; index < PODS_TOTAL; index++) await createPod(manifest(index));
await createRefusedJob();
const waiting = store.list<Pod>(PODS).filter(({ spec }) => spec.nodeName === undefined);
console.log(`${PODS_TOTAL - waiting.length} pods hold shares, ${waiting.length} wait`);

for (const server of servers.slice(10, 13)) await server[Symbol.asyncDispose]();
for (const server of servers.slice(40, 44)) server.setDraining(true);
for (const [index, server] of servers.slice(60, 72).entries()) {
  const problem = index % 2 === 0 ? "xid-79" : "ecc";
  server.setGpus(server.gpus.map((gpu, number) => (number === index % 8 ? { ...gpu, healthy: false, problem } : gpu)));
}
for (const rule of taintRules()) store.put(`/apis/resource.k8s.io/v1/devicetaintrules/${rule.metadata.name}`, rule);

const tainted = () => devices().filter(({ taints = [] }) => taints.length > 0).length;
await until("the taints", () => tainted() === 3 * 8 + 4 * 8 + 12);
await until("an event for each pod that waits", () => store.list("/api/v1/events").length >= waiting.length);
// The driver writes the status of a claim once a minute at most.
await until("claims whose lease fails", () => conditions().includes("False"));
await sleep(5000);

const recorded: Cluster = {
  slices: slices(),
  claims: store.list(RESOURCE_CLAIMS),
  pods: store.list(PODS),
  events: store.list("/api/v1/events"),
  taintRules: store.list("/apis/resource.k8s.io/v1/devicetaintrules"),
};
const compressed = gzipSync(JSON.stringify(recorded), { level: 9 });
await writeFile(RECORDED_CLUSTER, compressed);
console.log(
  Object.entries(recorded).map(([name, objects]) => `${objects.length} ${name}`),
  `${compressed.length} bytes`,
);

function devices() {
  return slices().flatMap(({ spec }) => spec.devices ?? []);
}

function conditions(): (string | undefined)[] {
  const claims = store.list<ResourceClaim>(RESOURCE_CLAIMS);
  return claims.flatMap(({ status }) => status?.devices?.map(({ conditions: [ready] }) => ready?.status) ?? []);
}

async function until(what: string, isReached: () => boolean): Promise<void> {
  const deadline = Date.now() + TIMEOUT;
  while (!isReached()) {
    if (Date.now() > deadline) throw new Error(`Waited ${TIMEOUT / 1000} s for ${what}`);
    await sleep(100);
  }
  console.log(what);
}

/** A pod as a user writes it. */
function manifest(index: number): Pod {
  const namespace = random.pick(["vision", "speech", "recsys", "llm-training", "notebooks"]);
  const kind = random.pick(["train", "serve", "notebook", "eval"]);
  const last = index >= PODS_TOTAL - 90; // those that find the pool full, or ask for what nobody has
  const gpus = random.chance(0.5) ? random.pick([2, 4, 8, 8]) : 1;
  const percent = random.pick([10, 20, 25, 50, 50, 60, 80, 100, 100, 100]);
  const filter = last && random.chance(0.2) ? { "bitfusion-client/filter": "server.hostname=gpu-011" } : {};
  const limits = { "bitfusion.io/gpu-num": last ? 8 : gpus, "bitfusion.io/gpu-percent": last ? 100 : percent };
  return {
    metadata: {
      name: `${kind}-${index}`,
      namespace,
      creationTimestamp: new Date(Date.now() - random.below(7200) * 1000).toISOString().replace(/\.\d+Z/, "Z"),
      annotations: { "auto-management/bitfusion": "yes", ...filter },
    },
    spec: {
      containers: [
        { name: kind, image: "nvcr.io/nvidia/pytorch:25.01-py3", command: ["python"], resources: { limits } },
      ],
      ...(last && random.chance(0.1) ? { priority: 1000 } : {}),
    },
  };
}

/** Creates a pod, and waits until it has its claims. Then schedules it, and lets the node prepare its claims. */
async function createPod(pod: Pod): Promise<void> {
  const path = podPath(pod);
  store.put(path, await admit(pod, webhook as PodWebhook));
  const stored = store.get<Pod>(path) as Pod;
  const names = (stored.spec.resourceClaims ?? []).map(({ name }) => name);
  const claimsOf = () => names.flatMap((name) => claimOf(store, stored, name) ?? []);
  const deadline = Date.now() + TIMEOUT;
  while (claimsOf().length < names.length) {
    if (Date.now() > deadline) throw new Error(`Waited for the claims of ${path}`);
    await sleep(5);
  }
  const node = random.pick(NODES);
  if (!schedule(store, stored, claimsOf(), node)) {
    const message = `0/${NODES.length} nodes are available: ${NODES.length} cannot allocate all claims. still not schedulable, preemption: 0/${NODES.length} nodes are available: ${NODES.length} Preemption is not helpful for scheduling.`;
    const conditions = [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }];
    setPodStatus(store, stored, { phase: "Pending", conditions });
    return;
  }
  const ids = claimsOf().map(({ metadata: { namespace = "", name, uid = "" } }) => ({ namespace, name, uid }));
  const results = await drivers.get(node)?.kubelet.prepare(ids);
  for (const { error } of Object.values(results ?? {})) if (error) throw new Error(error);
  const startedAt = new Date().toISOString().replace(/\.\d+Z/, "Z");
  const containerStatuses = stored.spec.containers.map(({ name }) => ({
    name,
    ready: true,
    state: { running: { startedAt } },
  }));
  setPodStatus(store, stored, { phase: "Running", containerStatuses });
}

/** Allocates the claims of a pod as kube-scheduler does, and binds it. Returns whether there was room. */
function schedule(store: ObjectStore, pod: Pod, claims: readonly ResourceClaim[], nodeName: string): boolean {
  if (claims.some(({ spec }) => spec.devices?.requests?.some(({ exactly }) => exactly?.selectors))) return false;
  const held = store
    .list<ResourceClaim>(RESOURCE_CLAIMS)
    .flatMap(({ status }) => status?.allocation?.devices?.results ?? []);
  const allocations = allocate(claims, { slices: slices(), held });
  if (!allocations) return false;
  const { name, uid } = pod.metadata;
  for (const [index, claim] of claims.entries()) {
    const results = (allocations[index] ?? []).map((each) => ({ ...each, shareID: crypto.randomUUID() }));
    const status = { allocation: { devices: { results } }, reservedFor: [{ resource: "pods", name, uid }] };
    store.put(claimPath(claim.metadata.namespace ?? "", claim.metadata.name), { ...claim, status });
  }
  store.put(podPath(pod), { ...pod, spec: { ...pod.spec, nodeName } });
  return true;
}

/** A Job whose pod the webhook refuses: kube-controller-manager says so in an event. */
async function createRefusedJob(): Promise<void> {
  const pod = manifest(0);
  const [container] = pod.spec.containers;
  const limits = { "bitfusion.io/gpu-num": 2000, "bitfusion.io/gpu-percent": 100 };
  const spec = { containers: container ? [{ ...container, resources: { limits } }] : [] };
  const reason = await admit({ ...pod, spec }, webhook as PodWebhook).then(() => undefined, messageOf);
  if (reason === undefined) throw new Error("The webhook has admitted a pod with 2000 GPUs");
  const now = new Date().toISOString().replace(/\.\d+Z/, "Z");
  store.put("/api/v1/namespaces/vision/events/sweep.1", {
    involvedObject: { kind: "Job", namespace: "vision", name: "sweep" },
    type: "Warning",
    reason: "FailedCreate",
    message: `Error creating: admission webhook "mutate.bitfusion.io" denied the request: ${reason}`,
    count: 7,
    firstTimestamp: now,
    lastTimestamp: now,
  } as never);
}

function taintRules(): DeviceTaintRule[] {
  const chosen = devices().slice(700, 703);
  return chosen.map(({ name }, index) => ({
    metadata: { name: `repair-${index + 1}` },
    spec: {
      deviceSelector: { driver: "bitfusion.io", device: name },
      taint: { key: "example.com/repair", value: "fan", effect: "NoSchedule", timeAdded: "2026-11-29T12:00:00Z" },
    },
  }));
}
