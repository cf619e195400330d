import type { PoolState } from "../../source/pool_objects.ts";
import type { GpuView, PoolView, ServerView, TaintView, Units } from "../../view/types.ts";
import { holderOf } from "../cordon/affected.ts";
import { CORDON_TAINT } from "../cordon/rules.ts";
import { formatAge } from "../output/age.ts";
import { formatBar } from "../output/bar.ts";
import { type Cell, formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";

export interface PoolTableOptions {
  terminal: Pick<Terminal, "colors" | "unicode">;
  /** In ms since the epoch. */
  now: number;
  wide: boolean;
  /** What of the claims could be read. Without them, nobody knows what is held. */
  claims: Knowledge;
  /** Whether the slices could be read, which say what GPUs there are. Default: they could. */
  hasSlices?: boolean;
}

/** Whether all claims could be read, some or none. */
export type Knowledge = "all" | "some" | "none";

export function knowledgeOfClaims({ unread }: PoolState): Knowledge {
  const claims = unread.find(({ kind }) => kind === "claims");
  if (!claims) return "all";
  return claims.insteadOfAll === undefined ? "none" : "some";
}

/** The servers of a pool and their GPUs: a line for each, and one for all at the top. */
export function poolTable({ servers, totals }: PoolView, options: PoolTableOptions): string {
  const { wide } = options;
  const head = ["NAME", "MODEL", "MEMORY", "HELD", "UNITS", "FREE", "STATE"];
  const wideHead = ["DEVICE", "ISOLATION", "DATA PLANE", "CUDA", "DRIVER", "HELD BY"];
  const rows = servers.flatMap((server) => [
    serverRow(server, options),
    ...server.gpus.map((gpu) => gpuRow(gpu, options)),
  ]);
  const columns = wide ? [...head, ...wideHead] : head;
  return `${summary(totals, options)}\n\n${formatTable(columns, rows)}`;
}

function summary(totals: PoolView["totals"], { claims, hasSlices = true }: PoolTableOptions): string {
  if (!hasSlices) return "The GPUs of the pool are not known, only those that pods hold";
  const { gpus, servers, totalUnits, heldUnits, freeUnits, blockedUnits } = totals;
  const what = `${count(gpus, "GPU")} on ${count(servers, "server")}`;
  if (claims === "none") return `${what}: ${totalUnits} units; how many are held is not known`;
  const percent = totalUnits === 0 ? 0 : Math.round((heldUnits / totalUnits) * 100);
  const about = claims === "some" ? "at least " : "";
  const most = claims === "some" ? "at most " : "";
  return `${what}: ${about}${heldUnits} of ${totalUnits} units held (${percent} %), ${most}${freeUnits} free, ${blockedUnits} blocked`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function serverRow(server: ServerView, options: PoolTableOptions): Cell[] {
  const { colors } = options.terminal;
  const name = server.address === "" ? "(not published)" : server.address;
  const alias = server.name !== "" && !server.address.startsWith(`${server.name}:`) ? ` (${server.name})` : "";
  const row: Cell[] = [
    { text: `${name}${alias}`, style: colors.bold },
    "",
    "",
    ...unitCells(server, options),
    serverState(server, options),
  ];
  if (!options.wide) return row;
  const { dataPlane, dataPlaneBuild, cudaVersion = "", driverVersion = "" } = server.attributes;
  const plane = dataPlane === undefined ? "none" : `${dataPlane} ${dataPlaneBuild}`;
  return [...row, "", "", plane, cudaVersion, driverVersion, ""];
}

function gpuRow(gpu: GpuView, options: PoolTableOptions): Cell[] {
  const { attributes, id, model, memoryMb, device, shares } = gpu;
  const row: Cell[] = [
    `  ${id}`,
    model,
    memoryMb === 0 ? "" : `${Math.round(memoryMb / 100) / 10} GB`,
    ...unitCells(gpu, options),
    gpuState(gpu, options),
  ];
  if (!options.wide) return row;
  const holders = shares.map((share) => `${holderOf(share)}:${share.units}`).join(" ");
  return [...row, device, attributes.isolation ?? "", "", "", "", holders];
}

function unitCells(units: Units, { terminal, claims }: PoolTableOptions): Cell[] {
  const { colors, unicode } = terminal;
  const { heldUnits, totalUnits, freeUnits } = units;
  if (claims === "none") return ["?", `?/${totalUnits}`, "?"];
  const ratio = totalUnits === 0 ? 1 : heldUnits / totalUnits;
  const style = ratio >= 1 ? colors.red : ratio >= 0.8 ? colors.yellow : colors.green;
  const [about, most] = claims === "some" ? ["≥", "≤"] : ["", ""];
  return [
    { text: formatBar(heldUnits, totalUnits, unicode), style },
    `${about}${heldUnits}/${totalUnits}`,
    `${most}${freeUnits}`,
  ];
}

function serverState({ reachable, taints, address, gpus }: ServerView, options: PoolTableOptions): Cell {
  if (address === "" || gpus.length === 0) return "";
  if (!reachable) return { text: "unreachable", style: options.terminal.colors.red };
  return taints.some(isCordon) ? { text: "cordoned", style: options.terminal.colors.yellow } : "";
}

function gpuState({ state, taints }: GpuView, { terminal: { colors }, now }: PoolTableOptions): Cell {
  if (state === "ok") return { text: "ok", style: colors.green };
  const cordon = taints.find(isCordon);
  const cordoned = cordon && (cordon.effect === "NoExecute" ? "drained" : "cordoned");
  const text = state === "tainted" ? (cordoned ?? describeTaints(taints)) : describeProblem(state, taints, now);
  const isProblem = state !== "tainted" && state !== "draining";
  return { text: isProblem && cordoned ? `${text}, ${cordoned}` : text, style: isProblem ? colors.red : colors.yellow };
}

/** `unhealthy (xid-79) for 5m`. */
function describeProblem(state: GpuView["state"], taints: readonly TaintView[], now: number): string {
  const taint = taints.find(({ key }) => key === `bitfusion.io/${state}`);
  if (!taint) return state;
  const detail = taint.value ? ` (${taint.value})` : "";
  const eviction = taint.effect === "NoExecute" ? ", pods are evicted" : "";
  return `${state}${detail} for ${formatAge(taint.since, now)}${eviction}`;
}

function describeTaints(taints: readonly TaintView[]): string {
  return taints.map(({ key, effect }) => `${key}:${effect}`).join(" ");
}

function isCordon({ key }: TaintView): boolean {
  return key === CORDON_TAINT;
}
