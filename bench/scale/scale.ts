import { mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { kubeconfigOf } from "../../kubernetes/simulated/api_server.ts";
import { writeTestToken } from "../../pool/token/testing.ts";
import { createLatest } from "../../program/latest.ts";
import { compile } from "../../program/processes/compile.ts";
import { cpuTime, residentMemory } from "../common/process_usage.ts";
import type { ApiAddress } from "./api_process.ts";
import { readLines, startLineProcess } from "./child_lines.ts";
import { type ServerGroup, startSimulatedPool } from "./simulated_pool.ts";
import { createSliceRecord, type SliceRecord } from "./slice_record.ts";

const SIZES = [100, 1000];
const GPUS_PER_SERVER = 8;
/** INTERVAL of the controller, in s: the default. */
const INTERVAL = 10;
/** Time after the start until the controller counts as being at rest, in ms. */
const SETTLE = 10_000;
/** How long the controller is measured at rest, in ms. */
const REST = 60_000;
/** How long the controller may take to know all servers, in ms. */
const TIMEOUT = 120_000;
/** As in controller/deploy/deployment.yaml. */
const MEMORY_LIMIT = 512 * 2 ** 20;
/** Limits with 1,000 servers: share of a core, bytes. */
const LIMITS = { cpu: 0.05, memory: 300_000_000 };

/** Measures the controller, compiled as in its image, with pool servers that speak the real protocol. */
export async function benchScale(): Promise<Record<string, string>[][]> {
  await using folder = await mkdtempDisposable(join(tmpdir(), "bench-"));
  const controller = await compile("controller/main.ts", join(folder.path, "controller"));
  const tables: Record<string, string>[][] = [];
  for (const servers of SIZES) tables.push(await benchSize(servers, { controller, folder: folder.path }));
  const [first = [], ...others] = tables;
  return [first.map((row, index) => Object.assign({}, row, ...others.map((table) => table[index])))];
}

interface ScaleFiles {
  /** Path of the compiled controller/main.ts. */
  readonly controller: string;
  readonly folder: string;
}

async function benchSize(servers: number, files: ScaleFiles): Promise<Record<string, string>[]> {
  await using pool = await startSimulatedPool(servers, GPUS_PER_SERVER);
  await using api = startLineProcess(join(import.meta.dir, "api_process.ts"));
  const { url } = await api.next<ApiAddress>();
  const record = createSliceRecord(api);
  const start = () => startController(url, pool.groups, files);
  const devices = servers * GPUS_PER_SERVER;
  const rows: [what: string, value: string][] = [];

  let startedAt = Date.now();
  let controller = await start();
  try {
    const writtenAt = await record.waitFor("the first slices", () => record.count().devices === devices);
    rows.push(["start to all slices written", seconds(writtenAt - startedAt)]);
    rows.push(["CPU time of the start", seconds((await cpuTime(controller.pid)) * 1000)]);
    rows.push(["slices, writes, KB of each", await describeWrites(record)]);

    await sleep(SETTLE);
    const before = await pool.traffic();
    const [restAt, cpuBefore] = [performance.now(), await cpuTime(controller.pid)];
    await sleep(REST);
    const duration = (performance.now() - restAt) / 1000;
    const cpu = ((await cpuTime(controller.pid)) - cpuBefore) / duration;
    const after = await pool.traffic();
    const perMessage = (after.sample.bytes - before.sample.bytes) / (after.sample.messages - before.sample.messages);
    const messages = (after.messages - before.messages) / duration;
    rows.push(["at rest: CPU", `${(cpu * 100).toFixed(1)} %${ratio(cpu / LIMITS.cpu, servers)}`]);
    const memory = await residentMemory(controller.pid);
    rows.push(["at rest: RSS", `${(memory / 1e6).toFixed(0)} MB${ratio(memory / LIMITS.memory, servers)}`]);
    rows.push(["peak of RSS", `${((await peakMemory(controller.pid)) / 1e6).toFixed(0)} MB`]);
    rows.push(["at rest: heartbeats", `${messages.toFixed(0)}/s`]);
    rows.push(["at rest: lists of leases", `${((after.lists - before.lists) / duration).toFixed(1)}/s`]);
    rows.push(["at rest: traffic with servers", `${((perMessage * messages) / 1000).toFixed(0)} KB/s`]);

    await record.settle(1000);
    const known = record.writes.length;
    controller.kill("SIGKILL");
    await controller.exited;
    startedAt = Date.now();
    controller = await start();
    await controller.follows(servers);
    rows.push(["restart to all servers known", seconds(Date.now() - startedAt)]);
    await record.settle(SETTLE);
    rows.push(["writes after a restart", String(record.writes.length - known)]);

    const [closed, silent] = pool.single;
    rows.push(["server ended to taint", await measureDeath(record, closed, "SIGKILL")]);
    rows.push(["server silent to taint", await measureDeath(record, silent, "SIGSTOP")]);
    const [closedRack, silentRack] = pool.racks;
    rows.push(["a tenth of the servers ended", await measureDeath(record, closedRack, "SIGKILL")]);
    rows.push(["a tenth of the servers silent", await measureDeath(record, silentRack, "SIGSTOP")]);
    rows.push(["the same servers answer again", await measureDeath(record, silentRack, "SIGCONT")]);
    rows.push(["RSS at the end", `${((await residentMemory(controller.pid)) / 1e6).toFixed(0)} MB`]);
  } finally {
    controller.kill("SIGKILL");
    await controller.exited;
  }
  return rows.map(([what, value]) => ({ "": what, [`${servers} servers`]: value }));
}

/** Lets the servers of a group die, or continue, and returns when the last of their GPUs had, or had lost, its taint, and how often slices were written. */
async function measureDeath(
  record: SliceRecord,
  { hostnames, process }: ServerGroup,
  signal: "SIGKILL" | "SIGSTOP" | "SIGCONT",
): Promise<string> {
  const known = record.writes.length;
  const slices = record.slicesOf(hostnames);
  const at = Date.now();
  process.signal(signal);
  const expected = signal === "SIGCONT" ? 0 : hostnames.length * GPUS_PER_SERVER;
  const taintedAt = await record.waitFor("the taints", () => record.count(hostnames).tainted === expected);
  await record.settle((INTERVAL * 1000) / 2);
  const time = (taintedAt - at) / (2 * INTERVAL * 1000);
  const writes = record.writes.length - known;
  return `${seconds(taintedAt - at)} (${time.toFixed(2)} of the limit), ${writes} writes of ${slices} slices`;
}

async function describeWrites(record: SliceRecord): Promise<string> {
  const { slices, writes } = record;
  const bytes = [...slices.values()].reduce((sum, slice) => sum + slice.bytes, 0);
  return `${slices.size}, ${writes.length}, ${(bytes / slices.size / 1000).toFixed(1)}`;
}

interface ControllerProcess {
  readonly pid: number;
  readonly exited: Promise<number>;
  /** Resolves once this number of servers is reachable. */
  follows(servers: number): Promise<void>;
  kill(signal: NodeJS.Signals): void;
}

async function startController(
  url: string,
  groups: readonly ServerGroup[],
  { controller, folder }: ScaleFiles,
): Promise<ControllerProcess> {
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(url));
  const child = Bun.spawn([controller], {
    env: {
      KUBECONFIG: kubeconfig,
      POOL_SERVERS: groups.flatMap(({ addresses }) => addresses).join(","),
      POOL_TOKEN: await writeTestToken(join(folder, "token")),
      INTERVAL: String(INTERVAL),
      BUN_JSC_forceRAMSize: String(MEMORY_LIMIT),
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const reachable = createLatest(0);
  const readLog = async () => {
    for await (const line of readLines(child.stdout, "the controller")) {
      if (line.includes('"Pool server is reachable"')) reachable.set((reachable.current ?? 0) + 1);
    }
  };
  void readLog().catch(() => {}); // it was killed within a line
  return {
    pid: child.pid,
    exited: child.exited,
    async follows(servers) {
      for await (const count of reachable.changes(AbortSignal.timeout(TIMEOUT))) if (count >= servers) return;
      throw new Error(`Waited ${TIMEOUT / 1000} s for ${servers} servers: ${reachable.current} are reachable`);
    },
    kill: (signal) => child.kill(signal),
  };
}

/** Returns the largest resident memory that a process ever had, in bytes. */
async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

function ratio(value: number, servers: number): string {
  return servers === 1000 ? ` (${value.toFixed(2)} of the limit)` : "";
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
