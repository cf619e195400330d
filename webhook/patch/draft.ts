import type { Operation } from "rfc6902";
import { keepText, type Patch, type Run } from "./patch_text.ts";

/** A patch in the making. */
export interface Draft {
  /** For this pod alone. */
  readonly own: Operation[];
  /** What other pods get as well: they come last, for some of them move elements of lists. */
  readonly shared: Run[];
}

/** Lists of elements that many pods get, with what appends them by path. */
const sharedLists = new WeakMap<readonly unknown[], Map<string, Run>>();

/** Paths for which runs are kept: few pods have more containers, and none shall fill the memory. */
const KEPT_PATHS = 64;

export function createDraft(): Draft {
  return { own: [], shared: [] };
}

export function patchOf({ own, shared }: Draft): Patch {
  return [own, ...shared];
}

/** Says that many pods get these elements: what appends them is made once. They must not be changed afterwards. */
export function shareElements<T extends readonly unknown[]>(elements: T): T {
  sharedLists.set(elements, new Map());
  return elements;
}

/** Sets a field to a value, in place of the one before if there was one. */
export function setTo({ own }: Draft, path: string, before: unknown, value: unknown): void {
  if (before !== value) own.push({ op: before === undefined ? "add" : "replace", path, value });
}

/** Puts elements at the end of a list, which is made if there was none. */
export function appendTo(
  { own, shared }: Draft,
  path: string,
  list: readonly unknown[] | undefined,
  elements: readonly unknown[],
): void {
  const kept = sharedLists.get(elements);
  if (!list) own.push({ op: "add", path, value: elements });
  else if (kept) shared.push(keptRun(kept, path, elements));
  else own.push(...runOf(path, elements));
}

function keptRun(kept: Map<string, Run>, path: string, elements: readonly unknown[]): Run {
  const before = kept.get(path);
  if (before) return before;
  const run = runOf(path, elements);
  if (kept.size < KEPT_PATHS) kept.set(path, keepText(run));
  return run;
}

function runOf(path: string, elements: readonly unknown[]): Run {
  return elements.map((value) => ({ op: "add", path: `${path}/-`, value }));
}
