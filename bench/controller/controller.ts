import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { KubernetesObject } from "@kubernetes/client-node";
import { sliceName } from "../../controller/slices/slice.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore, type ObjectStore } from "../../kubernetes/simulated/objects.ts";
import type { Gpu } from "../../pool/inventory.ts";
import { type InventoryServer, startInventoryServer } from "../../pool/sources/testing.ts";
import { writeTestToken } from "../../pool/token/testing.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { median } from "../common/statistics.ts";
import type { LeaderReport } from "./leader_process.ts";

const SIZES = [1000, 10_000];
const GPUS_PER_SERVER = 100;
/** Claims of another driver that exist during the entire measurement. */
const CLAIMS = 50_000;
/** Watch events of claims that are created and then allocated: two for each claim. */
const CLAIM_EVENTS = 1000;
/** Waiting pods, each with a different share. */
const WAITING = 1000;
const CHANGES = 20;
const CLAIMS_PATH = "/apis/resource.k8s.io/v1/namespaces/bench/resourceclaims";

/** Measures the controller's leader against a simulated API server with 50,000 claims, at two pool sizes. */
export async function benchController(): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const gpus of SIZES) rows.push(await benchSize(gpus));
  return rows;
}

async function benchSize(count: number): Promise<Record<string, string>> {
  const store = createObjectStore();
  const created = new Map<string, number>();
  const reported = new Map<string, number>();
  await using api = startSimulatedApiServer({
    onRequest: async (request) => {
      const isEvent = request.method === "POST" && request.url.includes("/events");
      if (isEvent) {
        const { involvedObject } = (await request.clone().json()) as { involvedObject: { name: string } };
        reported.set(involvedObject.name, performance.now());
      }
      return store.answer(request);
    },
  });
  const gpus = Array.from({ length: count }, (_, index) => createGpu(index));
  await using servers = new AsyncDisposableStack();
  const pool: InventoryServer[] = [];
  for (let index = 0; index < count; index += GPUS_PER_SERVER) {
    pool.push(servers.use(await startInventoryServer({ gpus: gpus.slice(index, index + GPUS_PER_SERVER) })));
  }
  for (let index = 0; index < CLAIMS; index++) store.put(`${CLAIMS_PATH}/old-${index}`, otherClaim(`old-${index}`));
  await using leader = await startLeaderProcess(
    api.url,
    pool.map(({ address }) => address),
  );

  await waitFor(() => devices(store).length === count);
  const start = await leader.report();
  const row = { GPUs: String(count), claims: String(CLAIMS), "event loop stall at start": ms(start.stall) };

  const [device] = devices(store);
  const before = await leader.report();
  for (let index = 0; index < CLAIM_EVENTS; index += 2) {
    const name = `new-${index}`;
    store.put(`${CLAIMS_PATH}/${name}`, waitingClaim(name, 1));
    store.put(`${CLAIMS_PATH}/${name}`, allocatedClaim(name, device ?? "", 0.1));
    if (index % 50 === 0) await sleep(1); // about the rate of a scheduler, not all at once
  }
  await leader.waitFor(({ waitingClaims, held }) => waitingClaims === 0 && held > 0);
  const after = await leader.report();

  const taintTimes: number[] = [];
  for (let change = 0; change < CHANGES; change++) {
    const healthy = change % 2 === 1;
    const at = performance.now();
    const [first] = pool;
    first?.setGpus(first.gpus.map((gpu, index) => (index === 0 ? { ...gpu, healthy } : gpu)));
    await waitFor(() => devicesWithTaint(store) === (healthy ? 0 : 1));
    taintTimes.push(performance.now() - at);
  }

  const busy = await leader.report();
  for (let index = 0; index < WAITING; index++) {
    const name = `waiting-${index}`;
    created.set(name, performance.now());
    store.put(`${CLAIMS_PATH}/${name}`, waitingClaim(name, 33, `device.id=none-${index}`));
  }
  await waitFor(() => reported.size >= 1);
  const [first] = reported;
  const firstEvent = (first?.[1] ?? Number.NaN) - (created.get(first?.[0] ?? "") ?? Number.NaN);
  await waitFor(() => reported.size >= WAITING / 10, 60_000);
  const waiting = await leader.report();
  return {
    ...row,
    "CPU per 1,000 claim events": ms(((after.cpu - before.cpu) / CLAIM_EVENTS) * 1000),
    "stall during claim events": ms(after.stall),
    "GPU unhealthy to taint": ms(median(taintTimes)),
    "claim created to event": ms(firstEvent),
    [`stall with ${WAITING} waiting pods`]: ms(waiting.stall),
    [`CPU with ${WAITING} waiting pods`]: `${(((waiting.cpu - busy.cpu) / eventSpan(reported, created)) * 100).toFixed(0)} %`,
    RSS: `${(waiting.memory / 2 ** 20).toFixed(0)} MiB`,
  };
}

/** Returns the time from the creation of the first waiting claim to the last event so far, in ms. */
function eventSpan(reported: ReadonlyMap<string, number>, created: ReadonlyMap<string, number>): number {
  return Math.max(...reported.values()) - Math.min(...created.values());
}

const ms = (time: number) => `${time.toFixed(time < 10 ? 1 : 0)} ms`;

function createGpu(index: number): Gpu {
  return { id: `GPU-fef8089b-4820-abfc-e83e-${index}`, model: "Tesla T4", memoryMb: 16_000, healthy: true };
}

function slicesOf({ objects }: ObjectStore): ResourceSlice[] {
  const slices: ResourceSlice[] = [];
  for (let index = 0; ; index++) {
    const slice = objects.get(`${RESOURCE_SLICES}/${sliceName(index)}`);
    if (!slice) return slices;
    slices.push(slice as unknown as ResourceSlice);
  }
}

/** Returns pool/device of each published GPU. */
function devices(store: ObjectStore): string[] {
  return slicesOf(store).flatMap(({ spec }) => (spec.devices ?? []).map(({ name }) => `${spec.pool.name}/${name}`));
}

function devicesWithTaint(store: ObjectStore): number {
  return slicesOf(store).flatMap(({ spec }) => (spec.devices ?? []).filter(({ taints }) => taints)).length;
}

/** Creates an allocated claim of another driver, of realistic size. */
function otherClaim(name: string): KubernetesObject {
  return claimObject(name, "gpu.example", { devices: { results: [allocation("gpu.example", "node/gpu-0", 100)] } });
}

function waitingClaim(name: string, units: number, filter?: string): KubernetesObject {
  return claimObject(name, "bitfusion.io", undefined, units, filter);
}

function allocatedClaim(name: string, device: string, units: number): KubernetesObject {
  const results = [allocation("bitfusion.io", device, Math.max(1, Math.round(units * UNITS_PER_GPU)))];
  return claimObject(name, "bitfusion.io", { devices: { results } });
}

function allocation(driver: string, key: string, units: number) {
  const [pool = "", device = ""] = key.split("/");
  return {
    driver,
    pool,
    device,
    request: "gpu",
    shareID: crypto.randomUUID(),
    consumedCapacity: { units: String(units) },
  };
}

function claimObject(name: string, deviceClassName: string, allocated?: object, units = 1, filter?: string) {
  const uid = crypto.randomUUID();
  const exactly = {
    deviceClassName,
    allocationMode: "ExactCount",
    count: 1,
    capacity: { requests: { units: String(units) } },
  };
  const managedFields = [{ manager: "kube-scheduler", operation: "Update", fieldsV1: { padding: "x".repeat(800) } }];
  const claim: ResourceClaim = {
    metadata: {
      name,
      ...({ managedFields } as object),
      annotations: { "bitfusion.io/share": `1x${units}`, ...(filter ? { "bitfusion-client/filter": filter } : {}) },
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name, uid }],
    },
    spec: { devices: { requests: [{ name: "gpu", exactly }] } as ResourceClaim["spec"]["devices"] & {} },
    ...(allocated ? { status: { allocation: allocated } } : {}),
  };
  return claim as unknown as KubernetesObject;
}

interface LeaderProcess extends AsyncDisposable {
  /** Returns the current measurements. `stall` is the longest since the last call. */
  report(): Promise<LeaderReport>;
  waitFor(isExpected: (report: LeaderReport) => boolean): Promise<void>;
}

async function startLeaderProcess(url: string, poolServers: readonly string[]): Promise<LeaderProcess> {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(url));
  const token = await writeTestToken(join(folder, "token"));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "leader_process.ts")], {
    env: { PATH: process.env.PATH, KUBECONFIG: kubeconfig, POOL_SERVERS: poolServers.join(","), POOL_TOKEN: token },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = child.stdout.getReader();
  let stall = 0;
  const readReport = async () => {
    child.stdin.write("\n");
    await child.stdin.flush();
    const { value } = await lines.read();
    const report = JSON.parse(new TextDecoder().decode(value)) as LeaderReport;
    stall = Math.max(stall, report.stall);
    return report;
  };
  return {
    async report() {
      const report = { ...(await readReport()), stall };
      stall = 0;
      return report;
    },
    async waitFor(isExpected) {
      while (!isExpected(await readReport())) await sleep(20);
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function waitFor(isMet: () => boolean, timeout = 30_000): Promise<void> {
  const deadline = performance.now() + timeout;
  while (!isMet()) {
    if (performance.now() > deadline) throw new Error(`Waited ${timeout} ms for ${isMet}`);
    await sleep(1);
  }
}
