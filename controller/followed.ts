import { isDeepStrictEqual } from "node:util";
import type { ObjectChange } from "../kubernetes/watch.ts";

/** Objects that a watch reports, by their keys. */
export interface Followed<T> {
  readonly objects: ReadonlyMap<string, T>;
  /** Whether all objects are known. */
  readonly isSynced: boolean;
  /** Applies a change. Returns whether it changed anything. */
  apply(change: ObjectChange<T>): boolean;
}

export function createFollowed<T>(): Followed<T> {
  let objects = new Map<string, T>();
  let isSynced = false;
  return {
    get objects() {
      return objects;
    },
    get isSynced() {
      return isSynced;
    },
    apply(change) {
      if (change.type === "replace") {
        objects = new Map(change.objects);
        isSynced = true;
        return true;
      }
      if (change.type === "delete") return objects.delete(change.key);
      const hasChanged = !isDeepStrictEqual(objects.get(change.key), change.object);
      objects.set(change.key, change.object);
      return hasChanged;
    },
  };
}
