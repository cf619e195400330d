import { stringify } from "yaml";
import { escapeControls } from "../../program/text/quote.ts";
import { followPool } from "../source/follow.ts";
import type { PoolState, Unread } from "../source/pool_objects.ts";
import { type ReadOptions, readPool } from "../source/read.ts";
import { describeForbidden } from "../source/unread.ts";
import type { PoolView } from "../view/types.ts";
import { viewPool } from "../view/view.ts";
import type { KubectlContext } from "./context.ts";
import { commandLog } from "./log.ts";
import type { OutputFormat } from "./options.ts";
import type { Terminal } from "./output/terminal.ts";
import { UserError } from "./user_error.ts";

/** What a command can show of the pool. */
export interface Presentation {
  table(view: PoolView, state: PoolState, wide: boolean): string;
  /** What JSON and YAML have. */
  document(view: PoolView): object;
  names(view: PoolView): readonly string[];
}

export interface ShowOptions {
  read: ReadOptions;
  output?: OutputFormat | undefined;
  watch?: boolean | undefined;
}

/** What clears a terminal; nothing for any other output. */
export function clearScreen({ isInteractive }: Terminal): string {
  return isInteractive ? "\u001b[2J\u001b[3J\u001b[H" : "";
}

/** Shows the pool once, or after each change. @throws {UserError} if nothing of it can be read. */
export async function showPool(
  { terminal, signal }: KubectlContext,
  { read, output = "table", watch = false }: ShowOptions,
  presentation: Presentation,
): Promise<void> {
  let warned = "";
  const show = (state: PoolState) => {
    refuseNothing(state);
    const view = viewPool(state.objects);
    const warnings = warningsOf(view, state.unread);
    const text = format(view, state, { output, watch, presentation });
    if (watch && terminal.isInteractive && (output === "table" || output === "wide")) {
      terminal.write(
        [clearScreen(terminal), text, ...warnings.map((line) => `${terminal.colors.yellow(line)}\n`)].join(""),
      );
      return;
    }
    terminal.write(text);
    if (warnings.join() === warned) return;
    warned = warnings.join();
    for (const line of warnings) terminal.warn(terminal.colors.yellow(line));
  };
  if (!watch) return show(await readPool(read, signal));
  for await (const state of followPool({ ...read, log: commandLog }, signal)) show(state);
}

/** Reads the pool once. @throws {UserError} if nothing of it can be read. */
export async function readView(read: ReadOptions, signal: AbortSignal): Promise<{ view: PoolView; state: PoolState }> {
  const state = await readPool(read, signal);
  refuseNothing(state);
  return { view: viewPool(state.objects), state };
}

function refuseNothing({ unread }: PoolState): void {
  const [first] = unread;
  const isUnread = (kind: Unread["kind"]) =>
    unread.some((each) => each.kind === kind && each.insteadOfAll === undefined);
  if (first && isUnread("slices") && isUnread("claims") && isUnread("pods")) throw new UserError(first.message);
}

/** What is wrong with the pool, or could not be read: one line each, and one for all rights that are missing. */
export function warningsOf({ problems }: PoolView, unread: readonly Unread[]): string[] {
  const [forbidden = [], others = []] = [true, false].map((each) =>
    unread.filter(({ isForbidden }) => isForbidden === each),
  );
  const reasons: (readonly [reason: string, about: readonly Unread[]])[] = others.map((each) => [each.message, [each]]);
  const [first] = forbidden;
  if (first) {
    const resources = forbidden.map(({ resource }) => resource);
    reasons.unshift([forbidden.length === 1 ? first.message : describeForbidden(resources), forbidden]);
  }
  const parts = reasons.map(([reason, about]) => [`${reason}.`, ...new Set(about.map(describeLack))].join(" "));
  return [...parts, ...problems].map((text) => `Warning: ${escapeControls(text)}`);
}

/** What the output lacks without objects. */
function describeLack({ kind, insteadOfAll }: Unread): string {
  return insteadOfAll === undefined ? WITHOUT[kind] : `Only the namespace ${insteadOfAll} counts.`;
}

const WITHOUT: Readonly<Record<Unread["kind"], string>> = {
  slices: "GPUs that you do not hold are missing here.",
  claims: "Who holds GPUs is not known here.",
  pods: "Pods that have no claim yet are missing here.",
  events: "Reasons that only events tell are missing here.",
  taintRules: "GPUs that an administrator has cordoned look free here.",
  nodes: "The state of nodes is missing here.",
};

function format(
  view: PoolView,
  state: PoolState,
  { output, watch, presentation }: { output: OutputFormat; watch: boolean; presentation: Presentation },
): string {
  if (output === "name")
    return presentation
      .names(view)
      .map((name) => `${name}\n`)
      .join("");
  if (output === "table" || output === "wide") return presentation.table(view, state, output === "wide");
  return formatDocument({ ...presentation.document(view), unread: state.unread }, output, watch);
}

/** JSON or YAML. In a stream, JSON has one line for each document, and YAML a line between two. */
export function formatDocument(document: object, output: "json" | "yaml", isStream = false): string {
  if (output === "yaml") return `${isStream ? "---\n" : ""}${stringify(document, { aliasDuplicateObjects: false })}`;
  return `${isStream ? JSON.stringify(document) : JSON.stringify(document, undefined, 2)}\n`;
}
