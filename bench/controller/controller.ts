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
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { median } from "../common/statistics.ts";
import type { SubjectReport } from "./subject.ts";

const SIZES = [1000, 10_000];
const GPUS_PER_SERVER = 100;
/** Claims that exist all the time. */
const CLAIMS = 50_000;
/** Claims that come, are allocated and go. */
const EVENTS = 1000;
/** Pods that wait, each for another share. */
const WAITING = 1000;
const CHANGES = 20;
const CLAIMS_PATH = "/apis/resource.k8s.io/v1/namespaces/bench/resourceclaims";

/** The controller's leader beside a simulated API server with 50,000 claims, at two sizes of pool. */
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
  await using subject = await startSubject(
    api.url,
    pool.map(({ address }) => address),
  );

  await until(() => devices(store).length === count);
  const start = await subject.report();
  const row = { GPUs: String(count), claims: String(CLAIMS), "stall at the start": ms(start.stall) };

  const [device] = devices(store);
  const before = await subject.report();
  for (let index = 0; index < EVENTS; index += 2) {
    const name = `new-${index}`;
    store.put(`${CLAIMS_PATH}/${name}`, waitingClaim(name, 1));
    store.put(`${CLAIMS_PATH}/${name}`, allocatedClaim(name, device ?? "", 0.1));
    if (index % 50 === 0) await sleep(1); // as fast as a scheduler, not all at once
  }
  await subject.until(({ waitingClaims, held }) => waitingClaims === 0 && held > 0);
  const after = await subject.report();

  const deaths: number[] = [];
  for (let change = 0; change < CHANGES; change++) {
    const healthy = change % 2 === 1;
    const at = performance.now();
    const [first] = pool;
    first?.setGpus(first.gpus.map((gpu, index) => (index === 0 ? { ...gpu, healthy } : gpu)));
    await until(() => devicesWithTaint(store) === (healthy ? 0 : 1));
    deaths.push(performance.now() - at);
  }

  const busy = await subject.report();
  for (let index = 0; index < WAITING; index++) {
    const name = `waiting-${index}`;
    created.set(name, performance.now());
    store.put(`${CLAIMS_PATH}/${name}`, waitingClaim(name, 33, `device.id=none-${index}`));
  }
  await until(() => reported.size >= 1);
  const [first] = reported;
  const firstEvent = (first?.[1] ?? Number.NaN) - (created.get(first?.[0] ?? "") ?? Number.NaN);
  await until(() => reported.size >= WAITING / 10, 60_000);
  const waiting = await subject.report();
  return {
    ...row,
    "CPU per 1,000 claim events": ms(((after.cpu - before.cpu) / EVENTS) * 1000),
    "stall while claims change": ms(after.stall),
    "GPU unhealthy to tainted": ms(median(deaths)),
    "pod created to event": ms(firstEvent),
    [`stall with ${WAITING} waiting`]: ms(waiting.stall),
    "CPU with them": `${(((waiting.cpu - busy.cpu) / firstEventSpan(reported, created)) * 100).toFixed(0)} %`,
    RSS: `${(waiting.memory / 2 ** 20).toFixed(0)} MiB`,
  };
}

/** From the creation of the waiting claims to the last event so far, in ms. */
function firstEventSpan(reported: ReadonlyMap<string, number>, created: ReadonlyMap<string, number>): number {
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

/** pool/device of each. */
function devices(store: ObjectStore): string[] {
  return slicesOf(store).flatMap(({ spec }) => (spec.devices ?? []).map(({ name }) => `${spec.pool.name}/${name}`));
}

function devicesWithTaint(store: ObjectStore): number {
  return slicesOf(store).flatMap(({ spec }) => (spec.devices ?? []).filter(({ taints }) => taints)).length;
}

/** A claim as large as they are, of another driver. */
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

interface Subject extends AsyncDisposable {
  /** Its longest stall is that since the last call. */
  report(): Promise<SubjectReport>;
  until(isExpected: (report: SubjectReport) => boolean): Promise<void>;
}

async function startSubject(url: string, poolServers: readonly string[]): Promise<Subject> {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(url));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "subject.ts")], {
    env: { PATH: process.env.PATH, KUBECONFIG: kubeconfig, POOL_SERVERS: poolServers.join(",") },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = child.stdout.getReader();
  let stall = 0;
  const look = async () => {
    child.stdin.write("\n");
    await child.stdin.flush();
    const { value } = await lines.read();
    const report = JSON.parse(new TextDecoder().decode(value)) as SubjectReport;
    stall = Math.max(stall, report.stall);
    return report;
  };
  return {
    async report() {
      const report = { ...(await look()), stall };
      stall = 0;
      return report;
    },
    async until(isExpected) {
      while (!isExpected(await look())) await sleep(20);
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function until(isTrue: () => boolean, timeout = 30_000): Promise<void> {
  const deadline = performance.now() + timeout;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`Waited ${timeout} ms for ${isTrue}`);
    await sleep(1);
  }
}
