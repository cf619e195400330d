import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { listUnits, unitIds } from "../../plugin/units/devices.ts";
import { startInventoryServer } from "../../pool/sources/testing.ts";
import { writeTestToken } from "../../pool/token/testing.ts";
import { cpuTime, residentMemory } from "../common/process_usage.ts";
import { median, percentile } from "../common/statistics.ts";
import { dialPlugin, type RawPlugin, startRawKubelet } from "./raw_kubelet.ts";

export interface ScalePrograms {
  /** Path of the compiled plugin/main.ts. */
  readonly plugin: string;
  /** Path of the compiled bench/plugin/baseline_plugin.ts. */
  readonly baseline: string;
  /** Folder for sockets. */
  readonly folder: string;
}

/** A device plugin under test, dialed by a kubelet. */
interface PluginProcess extends AsyncDisposable {
  readonly pid: number;
  readonly plugin: RawPlugin;
  /** From the pool's first inventory to the last byte of the first list, in ms; NaN for the baseline. */
  readonly firstList: number;
  /** Device IDs to allocate. */
  readonly ids: readonly string[];
  /** Causes the plugin to send a list. */
  change(): void;
}

const SIZES = [1000, 10_000, 100_000];
const CHANGES = 20;
const ALLOCATIONS = 10_000;
/** Units that each Allocate call requests. */
const ALLOCATED = 50;
/** Time after the first list until the plugin counts as idle, in ms. */
const SETTLE = 3000;
/** Time over which idle CPU usage is measured, in ms. */
const IDLE = 60_000;

/** Measures the plugin at each pool size, and a service on the same library that only sends and responds. */
export async function benchScale(programs: ScalePrograms): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const units of SIZES) {
    await using baseline = await startBaseline(programs, units);
    await using plugin = await startPlugin(programs, units);
    const measured = [
      { name: "baseline", ...(await measure(baseline)) },
      { name: "plugin", ...(await measure(plugin)) },
    ];
    const idle = await Promise.all([baseline, plugin].map(idleShare));
    const [baselineMedian = Number.NaN, pluginMedian = Number.NaN] = measured.map(({ allocate }) => median(allocate));
    for (const [index, { name, bytes, change, memory, allocate }] of measured.entries()) {
      rows.push({
        units: name === "baseline" ? String(units) : "",
        service: name,
        "first list ms": name === "baseline" ? "" : plugin.firstList.toFixed(0),
        "change to sent ms": median(change).toFixed(1),
        "message KB": (bytes / 1000).toFixed(0),
        "RSS MiB": (memory / 2 ** 20).toFixed(0),
        "idle CPU": `${((idle[index] ?? Number.NaN) * 100).toFixed(2)} %`,
        "Allocate p50 µs": (percentile(allocate, 0.5) * 1000).toFixed(0),
        "Allocate p99 µs": (percentile(allocate, 0.99) * 1000).toFixed(0),
        "Allocate p50 ratio": name === "baseline" ? "" : (pluginMedian / baselineMedian).toFixed(2),
      });
    }
  }
  return rows;
}

async function measure({ pid, plugin, ids, change }: PluginProcess) {
  await Bun.sleep(SETTLE);
  const memory = await residentMemory(pid); // after start and first list: the usual state of a plugin
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

/** Returns the fraction of one core that the process uses while idle. */
async function idleShare({ pid }: PluginProcess): Promise<number> {
  const [start, before] = [performance.now(), await cpuTime(pid)];
  await Bun.sleep(IDLE);
  return ((await cpuTime(pid)) - before) / ((performance.now() - start) / 1000);
}

async function next({ lists }: RawPlugin, last = lists.current) {
  for await (const list of lists.changes(AbortSignal.timeout(30_000))) if (list !== last) return list;
  throw new Error("No list within 30 s");
}

async function startBaseline({ baseline, folder }: ScalePrograms, units: number): Promise<PluginProcess> {
  const socket = join(await mkdtemp(join(folder, "baseline-")), "baseline.sock");
  const child = Bun.spawn([baseline], {
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

async function startPlugin({ plugin: program, folder }: ScalePrograms, units: number): Promise<PluginProcess> {
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
    env: {
      ALLOCATION: "units",
      KUBELET_DIR: directory,
      POOL_SERVERS: pool.address,
      POOL_TOKEN: await writeTestToken(join(directory, "token")),
      POD_RESOURCES_SOCKET: join(directory, "none"),
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const plugin = await kubelet.plugin;
  const first = await next(plugin, undefined);
  const listed = listUnits({ servers: [{ address: pool.address, reachable: true, gpus }] });
  // Not of the first GPU: its health changes.
  const ids = [...listed.gpus.values()].slice(1, 2).flatMap(unitIds).slice(0, ALLOCATED);
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
