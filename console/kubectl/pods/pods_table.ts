import type { HeldShare, PoolView, Refusal, ShareState, WaitingPod } from "../../view/types.ts";
import { formatAge } from "../output/age.ts";
import { type Cell, formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";

export interface PodsTableOptions {
  terminal: Pick<Terminal, "colors">;
  /** In ms since the epoch. */
  now: number;
  wide: boolean;
  /** The namespace that is shown. Undefined: all. */
  namespace?: string | undefined;
}

/** The pods of a namespace, or of all, in a view. */
export type PodsView = Pick<PoolView, "holders" | "queue" | "refusals">;

export function podsOf({ holders, queue, refusals }: PoolView, namespace: string | undefined): PodsView {
  const isShown = (each: { namespace: string }) => namespace === undefined || each.namespace === namespace;
  return { holders: holders.filter(isShown), queue: queue.filter(isShown), refusals: refusals.filter(isShown) };
}

/** Who holds what, who waits and who is refused: a table for each that is not empty. */
export function podsTables({ holders, queue, refusals }: PodsView, options: PodsTableOptions): string {
  const { bold } = options.terminal.colors;
  const parts = [
    { title: "Pods that hold GPUs", text: holders.length > 0 ? holdersTable(holders, options) : "" },
    { title: "Pods that wait", text: queue.length > 0 ? queueTable(queue, options) : "" },
    { title: "Owners whose pods are refused", text: refusals.length > 0 ? refusalsTable(refusals, options) : "" },
  ].filter(({ text }) => text !== "");
  if (parts.length === 0) {
    const where = options.namespace === undefined ? "" : ` in the namespace ${options.namespace}`;
    return `No pod${where} holds GPUs of the pool or waits for some\n`;
  }
  return parts.map(({ title, text }) => `${bold(title)}\n${text}`).join("\n");
}

type Column<T> = readonly [title: string, cell: (each: T) => Cell];

function tableOf<T extends { namespace: string }>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  options: PodsTableOptions,
) {
  const shown: Column<T>[] = [
    ...(options.namespace === undefined ? [["NAMESPACE", (each: T) => each.namespace] as const] : []),
    ...columns,
  ];
  return formatTable(
    shown.map(([title]) => title),
    rows.map((row) => shown.map(([, cell]) => cell(row))),
  );
}

function holdersTable(holders: readonly HeldShare[], options: PodsTableOptions): string {
  const { now, wide, terminal } = options;
  const columns: Column<HeldShare>[] = [
    ["POD", ({ pod, claim }) => pod || `(claim ${claim})`],
    ["CONTAINERS", ({ containers }) => containers.join(",")],
    ["UNITS", ({ units }) => String(units)],
    ["GPU", ({ gpu }) => gpu],
    ["SERVER", ({ server }) => server],
    ["NODE", ({ node }) => node],
    ["SINCE", ({ since }) => formatAge(since, now)],
    ["STATE", ({ state }) => ({ text: state, style: styleOf(state, terminal.colors) })],
  ];
  const more: Column<HeldShare>[] = [
    ["CLAIM", ({ claim }) => claim],
    ["DEVICE", ({ pool, device }) => `${pool}/${device}`],
    ["MESSAGE", ({ message }) => message],
  ];
  return tableOf(holders, wide ? [...columns, ...more] : columns, options);
}

function styleOf(state: ShareState, colors: Terminal["colors"]): (text: string) => string {
  if (state === "ready") return colors.green;
  return state === "failing" ? colors.red : colors.yellow;
}

function queueTable(queue: readonly WaitingPod[], options: PodsTableOptions): string {
  const columns: Column<WaitingPod>[] = [
    ["POD", ({ pod }) => pod],
    ["WAITS", ({ since }) => formatAge(since, options.now)],
    ["FOR", ({ requests }) => requests.map(({ text }) => text).join(", ")],
    ["WHY", ({ reasons }) => (options.wide ? reasons.join("; ") : (reasons[0] ?? ""))],
  ];
  const more: Column<WaitingPod>[] = [["PRIORITY", ({ priority }) => String(priority)]];
  return tableOf(queue, options.wide ? [...more, ...columns] : columns, options);
}

function refusalsTable(refusals: readonly Refusal[], options: PodsTableOptions): string {
  return tableOf(
    refusals,
    [
      ["OWNER", ({ kind, name }) => `${kind.toLowerCase()}/${name}`],
      ["LAST", ({ lastSeen }) => formatAge(lastSeen, options.now)],
      ["TIMES", ({ count }) => String(count)],
      ["WHY", ({ message }) => message],
    ],
    options,
  );
}
