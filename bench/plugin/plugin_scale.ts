import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { unitIds, unitsOf } from "../../plugin/devices.ts";
import { startInventoryServer } from "../../pool/sources/testing.ts";
import { processorTime, residentMemory } from "../common/process_usage.ts";
import { median, percentile } from "../common/statistics.ts";
import { dialPlugin, type RawPlugin, startRawKubelet } from "./raw_kubelet.ts";

export interface ScalePrograms {
  /** Compiled plugin/main.ts. */
  readonly plugin: string;
  /** Compiled bench/plugin/bare_plugin.ts. */
  readonly bare: string;
  /** For sockets. */
  readonly folder: string;
}

/** A device plugin under test, as a kubelet has dialled it. */
interface Subject extends AsyncDisposable {
  readonly pid: number;
  readonly plugin: RawPlugin;
  /** From the pool's first inventory to the last byte of the first list, in ms; NaN where there is none. */
  readonly firstList: number;
  /** Ids to allocate. */
  readonly ids: readonly string[];
  /** Makes it send a list. */
  change(): void;
}

const SIZES = [1000, 10_000, 100_000];
const CHANGES = 20;
const ALLOCATIONS = 10_000;
/** Units that each Allocate asks for. */
const ALLOCATED = 50;
/** How long after its first list a plugin is taken to be idle, in ms. */
const SETTLE = 3000;
/** How long idle processor time is measured, in ms. */
const IDLE = 60_000;

/** Each size of pool: the plugin, and beside it a service on the same library that does nothing but send. */
export async function benchScale(programs: ScalePrograms): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const units of SIZES) {
    await using bare = await startBare(programs, units);
    await using plugin = await startPlugin(programs, units);
    const measured = [
      { name: "bare", ...(await measure(bare)) },
      { name: "plugin", ...(await measure(plugin)) },
    ];
    const idle = await Promise.all([bare, plugin].map(idleShare));
    const [limit = Number.NaN, own = Number.NaN] = measured.map(({ allocate }) => median(allocate));
    for (const [index, { name, bytes, change, memory, allocate }] of measured.entries()) {
      rows.push({
        units: name === "bare" ? String(units) : "",
        service: name,
        "first list ms": name === "bare" ? "" : plugin.firstList.toFixed(0),
        "change to sent ms": median(change).toFixed(1),
        "message KB": (bytes / 1000).toFixed(0),
        "RSS MiB": (memory / 2 ** 20).toFixed(0),
        "idle CPU": `${((idle[index] ?? Number.NaN) * 100).toFixed(2)} %`,
        "Allocate p50 µs": (percentile(allocate, 0.5) * 1000).toFixed(0),
        "Allocate p99 µs": (percentile(allocate, 0.99) * 1000).toFixed(0),
        "ratio of p50": name === "bare" ? "" : (own / limit).toFixed(2),
      });
    }
  }
  return rows;
}

async function measure({ pid, plugin, ids, change }: Subject) {
  await Bun.sleep(SETTLE);
  const memory = await residentMemory(pid); // after start and first list, as most plugins are for most of their life
  const times: number[] = [];
  let bytes = 0;
  for (let index = 0; index < CHANGES; index++) {
    const last = plugin.lists.current;
    const start = performance.now();
    change();
    const list = await next(plugin, last);
    times.push(list.at - start);
    bytes = list.bytes;
  }
  const allocate: number[] = [];
  for (let call = 0; call < ALLOCATIONS; call++) {
    const start = performance.now();
    await plugin.allocate(ids);
    allocate.push(performance.now() - start);
  }
  return { memory, bytes, change: times, allocate };
}

/** The share of one core that it uses while nothing happens. */
async function idleShare({ pid }: Subject): Promise<number> {
  const [start, before] = [performance.now(), await processorTime(pid)];
  await Bun.sleep(IDLE);
  return ((await processorTime(pid)) - before) / ((performance.now() - start) / 1000);
}

async function next({ lists }: RawPlugin, last = lists.current) {
  for await (const list of lists.changes(AbortSignal.timeout(30_000))) if (list !== last) return list;
  throw new Error("No list within 30 s");
}

async function startBare({ bare, folder }: ScalePrograms, units: number): Promise<Subject> {
  const socket = join(await mkdtemp(join(folder, "bare-")), "bare.sock");
  const child = Bun.spawn([bare], {
    env: { SOCKET: socket, UNITS: String(units) },
    stdio: ["pipe", "pipe", "inherit"],
  });
  for await (const _ of child.stdout) break;
  const plugin = dialPlugin(socket);
  await next(plugin, undefined);
  return {
    pid: child.pid,
    plugin,
    firstList: Number.NaN,
    ids: Array.from({ length: ALLOCATED }, (_, unit) => `00000000-${String(unit).padStart(2, "0")}`),
    change() {
      child.stdin.write(".");
      child.stdin.flush();
    },
    async [Symbol.asyncDispose]() {
      plugin[Symbol.dispose]();
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function startPlugin({ plugin: program, folder }: ScalePrograms, units: number): Promise<Subject> {
  const directory = await mkdtemp(join(folder, "kubelet-"));
  const gpus = Array.from({ length: units / 100 }, (_, index) => ({
    id: `GPU-fef8089b-4820-abfc-e83e-${index}`,
    model: "Tesla T4",
    memoryMb: 16_000,
    healthy: true,
  }));
  const pool = await startInventoryServer({ gpus });
  let healthy = true;
  const kubelet = await startRawKubelet(directory);
  const child = Bun.spawn([program], {
    env: { KUBELET_DIR: directory, POOL_SERVERS: pool.address, POD_RESOURCES_SOCKET: join(directory, "none") },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const plugin = await kubelet.plugin;
  const first = await next(plugin, undefined);
  const listed = unitsOf({ servers: [{ address: pool.address, reachable: true, gpus }] });
  const ids = [...listed.gpus.values()].slice(1, 2).flatMap(unitIds).slice(0, ALLOCATED); // the first GPU's health changes
  return {
    pid: child.pid,
    plugin,
    firstList: first.at - (await pool.firstWatch),
    ids,
    change() {
      healthy = !healthy;
      pool.setGpus(gpus.map((gpu, index) => (index === 0 ? { ...gpu, healthy } : gpu)));
    },
    async [Symbol.asyncDispose]() {
      plugin[Symbol.dispose]();
      child.kill("SIGTERM");
      await child.exited;
      await kubelet[Symbol.asyncDispose]();
      await pool[Symbol.asyncDispose]();
    },
  };
}
