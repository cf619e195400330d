import { lead } from "../../controller/lead.ts";
import { createControllerMetrics } from "../../controller/metrics.ts";
import type { State } from "../../controller/state.ts";
import { exec } from "../../e2e/steps/exec.ts";
import { kubectl } from "../../e2e/steps/kubectl.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { Inventory } from "../../pool/inventory.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { median } from "../common/statistics.ts";

const GPUS = 1000;
const CHANGES = 20;

/** A controller in this process, for a pool that the benchmark makes up, instead of the cluster's own. */
export interface Publishing extends AsyncDisposable {
  /** Publishes a pool in which one GPU, or none, is unhealthy. Resolves once the last write is done. */
  publish(unhealthy?: number): Promise<{ time: number; bytes: number; writes: number }>;
}

export async function startPublishing(request: KubernetesRequest): Promise<Publishing> {
  await kubectl("scale", "-n", "bitfusion-system", "deployment/bitfusion-controller", "--replicas=0");
  const gone = ["-l", "app.kubernetes.io/name=bitfusion-controller", "--for=delete", "--timeout=60s"];
  await exec(["kubectl", "wait", "-n", "bitfusion-system", "pod", ...gone]);
  await kubectl("delete", "resourceslices", "--all");
  const inventory = createLatest<Inventory>();
  const state = createLatest<State>({});
  const stop = new AbortController();
  const written = { bytes: 0, writes: 0, last: 0 };
  const counted: KubernetesRequest = async (path, options = {}) => {
    const answer = await request(path, options);
    if (options.method) {
      written.bytes += Buffer.byteLength(JSON.stringify(options.body));
      written.writes += 1;
      written.last = performance.now();
    }
    return answer;
  };
  const metrics = createControllerMetrics(() => ({}));
  const source = (signal: AbortSignal) => inventory.changes(signal);
  const ended = lead(
    { request: counted, inventory: source, state, record: async () => {}, log: silentLog, metrics },
    stop.signal,
  );
  return {
    async publish(unhealthy) {
      Object.assign(written, { bytes: 0, writes: 0 });
      const start = performance.now();
      inventory.set(poolWith(unhealthy));
      for await (const { slices } of state.changes(AbortSignal.timeout(60_000))) {
        const devices = [...(slices?.values() ?? [])].flatMap(({ spec }) => spec.devices ?? []);
        const tainted = devices.filter(({ taints }) => taints).length;
        if (devices.length === GPUS && tainted === (unhealthy === undefined ? 0 : 1)) break;
      }
      const { bytes, writes, last } = written;
      return { time: last - start, bytes, writes };
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

function poolWith(unhealthy?: number): Inventory {
  const gpus = Array.from({ length: GPUS }, (_, index) => ({
    id: `GPU-fef8089b-4820-abfc-e83e-${index}`,
    model: "Tesla T4",
    memoryMb: 16_000,
    healthy: index !== unhealthy,
  }));
  const facts = { hostname: "bench", hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" };
  return { servers: [{ address: "bench:56001", reachable: true, gpus, facts }] };
}

/** Time and bytes to publish 1,000 GPUs, and one change among them. */
export async function benchPublishing({ publish }: Publishing): Promise<Record<string, string>[]> {
  const all = await publish();
  const changes: Awaited<ReturnType<typeof publish>>[] = [];
  for (let change = 0; change < CHANGES; change++) changes.push(await publish(change % 2 === 0 ? change : undefined));
  const row = (what: string, { time, bytes, writes }: typeof all) => ({
    published: what,
    time: `${time.toFixed(0)} ms`,
    bytes: `${(bytes / 1000).toFixed(0)} KB`,
    writes: String(writes),
  });
  const of = (key: keyof typeof all) => median(changes.map((change) => change[key]));
  return [
    row("1,000 GPUs", all),
    row("one change among them", { time: of("time"), bytes: of("bytes"), writes: of("writes") }),
  ];
}
