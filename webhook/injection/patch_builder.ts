import type { PatchOperation } from "../review/review.ts";

/** Collects the operations of a JSON Patch (RFC 6902). They apply in the order of the calls. */
export interface PatchBuilder {
  /** Sets a field, unless it has the value already. `current` is undefined if the field does not exist. */
  set(path: string, current: unknown, value: unknown): void;
  /** Appends elements to a list. Creates the list if it does not exist. */
  append(path: string, list: readonly unknown[] | undefined, elements: readonly unknown[]): void;
  /** Inserts an element in front of a list. Later paths must count it. Creates the list if it does not exist. */
  prepend(path: string, list: readonly unknown[] | undefined, element: unknown): void;
  build(): readonly PatchOperation[];
}

export function createPatchBuilder(): PatchBuilder {
  const operations: PatchOperation[] = [];
  const add = (path: string, value: unknown) => operations.push({ op: "add", path, value });
  return {
    set(path, current, value) {
      if (current !== value) operations.push({ op: current === undefined ? "add" : "replace", path, value });
    },
    append(path, list, elements) {
      if (!list) add(path, elements);
      else for (const element of elements) add(`${path}/-`, element);
    },
    prepend(path, list, element) {
      if (!list) add(path, [element]);
      else add(`${path}/0`, element);
    },
    build: () => operations,
  };
}
