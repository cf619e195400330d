import { createLeaderWork } from "../../controller/leader_work.ts";
import { createControllerMetrics } from "../../controller/metrics.ts";
import { kubectl } from "../../e2e/steps/kubectl.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { Inventory } from "../../pool/inventory.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { median } from "../common/statistics.ts";
import { stopController } from "./controller_deployment.ts";

const GPUS = 1000;
const CHANGES = 20;

/** Measures what it takes to publish 1,000 GPUs, and a change of one of them. The leader runs in this process. */
export async function benchPublishing(request: KubernetesRequest): Promise<Record<string, string>[]> {
  await stopController();
  await kubectl("delete", "resourceslices", "--all");
  await using leader = startLeader(request);
  const all = await leader.publish();
  const changes: Awaited<ReturnType<typeof leader.publish>>[] = [];
  for (let change = 0; change < CHANGES; change++) {
    changes.push(await leader.publish(change % 2 === 0 ? change : undefined));
  }
  const row = (what: string, { time, bytes, writes }: typeof all) => ({
    published: what,
    time: `${time.toFixed(0)} ms`,
    bytes: `${(bytes / 1000).toFixed(0)} KB`,
    writes: String(writes),
  });
  const of = (key: keyof typeof all) => median(changes.map((change) => change[key]));
  return [
    row("1,000 GPUs", all),
    row("a change of one of them", { time: of("time"), bytes: of("bytes"), writes: of("writes") }),
  ];
}

function startLeader(request: KubernetesRequest) {
  const inventory = createLatest<Inventory>();
  const writes = createLatest({ bytes: 0, count: 0, devices: 0, tainted: 0, at: 0 });
  const stop = new AbortController();
  const countingRequest: KubernetesRequest = async (path, options = {}) => {
    const response = await request(path, options);
    const { devices = [] } = (options.body as { spec?: { devices?: { taints?: object }[] } } | undefined)?.spec ?? {};
    const last = writes.current;
    if (options.method && last) {
      writes.set({
        bytes: last.bytes + Buffer.byteLength(JSON.stringify(options.body)),
        count: last.count + 1,
        devices: last.devices + devices.length,
        tainted: devices.filter(({ taints }) => taints).length,
        at: performance.now(),
      });
    }
    return response;
  };
  const work = createLeaderWork({
    request: countingRequest,
    owner: { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "bench" },
    preemption: true,
    driverNamespace: "bitfusion-node",
    inventory: (signal) => inventory.changes(signal),
    clientOf: () => undefined, // its servers do not exist
    record: async () => {},
    log: silentLog,
    metrics: createControllerMetrics({ supply: () => undefined, waitingClaims: () => [] }),
  });
  const ended = work.run(stop.signal);
  return {
    /** Publishes a pool in which the GPU of this index, if any, is unhealthy. Resolves after the last write. */
    async publish(unhealthy?: number): Promise<{ time: number; bytes: number; writes: number }> {
      const isFirst = inventory.current === undefined;
      writes.set({ bytes: 0, count: 0, devices: 0, tainted: 0, at: 0 });
      const start = performance.now();
      inventory.set(poolWith(unhealthy));
      for await (const { bytes, count, devices, tainted, at } of writes.changes(AbortSignal.timeout(60_000))) {
        const isDone = isFirst ? devices === GPUS : count === 1 && tainted === (unhealthy === undefined ? 0 : 1);
        if (isDone) return { time: at - start, bytes, writes: count };
      }
      throw new Error("The pool was not published within 60 s");
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
