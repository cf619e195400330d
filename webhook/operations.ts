import type { Operation } from "rfc6902";

/** Sets a field to a value, in place of the one before if there was one. */
export function setTo(operations: Operation[], path: string, before: unknown, value: unknown): void {
  if (before !== value) operations.push({ op: before === undefined ? "add" : "replace", path, value });
}

/** Puts elements at the end of a list, which is made if there was none. */
export function appendTo(
  operations: Operation[],
  path: string,
  list: readonly unknown[] | undefined,
  elements: readonly unknown[],
): void {
  if (!list) {
    operations.push({ op: "add", path, value: elements });
    return;
  }
  let index = list.length;
  for (const value of elements) operations.push({ op: "add", path: `${path}/${index++}`, value });
}
