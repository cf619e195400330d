import type { Unread } from "../../source/pool_objects.ts";
import type { GpuView, HeldShare, PoolView, ServerView, TaintView, Units } from "../../view/types.ts";
import type { GpuRow, HistoryRow, PageState, Rows, ServerRow, ShareRow, UnitsRow } from "./wire.ts";

/** What the page shows of a view. */
export function toPageState(view: PoolView, unread: readonly Unread[], history: Rows<HistoryRow>): PageState {
  const { servers, queue, refusals, problems, totals } = view;
  return {
    totals: { pool: { ...toUnits(totals), servers: totals.servers, gpus: totals.gpus } },
    servers: Object.fromEntries(servers.map((server) => [server.address, toServer(server)])),
    gpus: Object.fromEntries(
      servers.flatMap(({ gpus }) => gpus.map((gpu) => [`${gpu.pool}/${gpu.device}`, toGpu(gpu)])),
    ),
    waiting: Object.fromEntries(
      queue.map(({ namespace, pod, since, priority, reasons, requests }) => [
        `${namespace}/${pod}`,
        { namespace, pod, since, priority, reasons, requests: requests.map(({ text }) => text) },
      ]),
    ),
    refusals: Object.fromEntries(refusals.map((each) => [`${each.namespace}/${each.kind}/${each.name}`, each])),
    notes: Object.fromEntries([
      ...problems.map((text) => [text, { kind: "problem" }] as const),
      ...unread.map(({ message }) => [message, { kind: "unread" }] as const),
    ]),
    history,
  };
}

/** A sample of a view for the history. */
export function toSample({ totals, queue }: Pick<PoolView, "totals" | "queue">): HistoryRow {
  return { ...toUnits(totals), waiting: queue.length };
}

function toUnits({ totalUnits, heldUnits, freeUnits, blockedUnits }: Units): UnitsRow {
  return { total: totalUnits, held: heldUnits, free: freeUnits, blocked: blockedUnits };
}

function toServer({ name, reachable, attributes }: ServerView): ServerRow {
  const { cudaVersion, driverVersion, dataPlane, dataPlaneBuild, hasRdma } = attributes;
  const facts = [
    ...(cudaVersion ? [`CUDA ${cudaVersion}`] : []),
    ...(driverVersion ? [`driver ${driverVersion}`] : []),
    ...(dataPlane ? [`data plane ${dataPlane} ${dataPlaneBuild ?? ""}`.trimEnd()] : []),
    ...(hasRdma ? ["RDMA"] : []),
  ];
  return { name, reachable, facts };
}

function toGpu(gpu: GpuView): GpuRow {
  const { id, server, model, memoryMb, state, taints, shares } = gpu;
  return {
    id,
    server,
    model,
    memoryMb,
    state,
    taints: taints.map(describeTaint),
    shares: shares.map(toShare),
    ...toUnits(gpu),
  };
}

function describeTaint({ key, value, effect, rule }: TaintView): string {
  const text = `${key}${value ? `=${value}` : ""}: ${effect}`;
  return rule === undefined ? text : `${text}, by the DeviceTaintRule ${rule}`;
}

function toShare({ namespace, pod, claim, containers, node, units, since, state, message }: HeldShare): ShareRow {
  return { namespace, pod, claim, containers, node, units, since, state, message };
}
