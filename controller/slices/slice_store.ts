import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { ObjectChange } from "../../kubernetes/watch.ts";

/** The slices as the API server stores them, as far as is known here. */
export interface SliceStore {
  /** By name. */
  readonly slices: ReadonlyMap<string, ResourceSlice>;
  /** Whether all slices are known. */
  readonly isSynced: boolean;
  /** Applies a change that a watch reports, or that the answer to a write tells. Returns whether anything is different now. */
  apply(change: ObjectChange<ResourceSlice>): boolean;
}

export function createSliceStore(): SliceStore {
  const slices = new Map<string, ResourceSlice>();
  /** Versions of deletions, by name: the answer to a write can arrive after the watch has reported a later deletion. */
  const deletions = new Map<string, bigint>();
  let isSynced = false;

  function put(name: string, slice: ResourceSlice): boolean {
    const stored = slices.get(name);
    const known = stored ? versionOf(stored) : (deletions.get(name) ?? -1n);
    if (known >= versionOf(slice)) return false; // the watch is behind a write
    slices.set(name, slice);
    return true;
  }

  function remove(name: string, version?: string): boolean {
    const stored = slices.get(name);
    if (version !== undefined) {
      if (stored && versionOf(stored) > BigInt(version)) return false; // it was created again since
      deletions.set(name, BigInt(version));
    }
    return slices.delete(name);
  }

  return {
    slices,
    get isSynced() {
      return isSynced;
    },
    apply(change) {
      switch (change.type) {
        case "put":
          return put(change.key, change.object);
        case "delete":
          return remove(change.key, change.resourceVersion);
        case "replace": {
          isSynced = true;
          for (const name of slices.keys()) if (!change.objects.has(name)) slices.delete(name);
          for (const [name, slice] of change.objects) put(name, slice);
          return true;
        }
      }
    },
  };
}

/** Resource versions can be compared since Kubernetes 1.35 (KEP-5504). */
function versionOf({ metadata }: ResourceSlice): bigint {
  return BigInt(metadata.resourceVersion ?? 0);
}
