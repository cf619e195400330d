import { deviceName } from "../device_name.ts";
import type { Gpu, PoolServer } from "../inventory.ts";

export interface OwnedGpus {
  readonly servers: readonly PoolServer[];
  /** The ids that were removed, by the address of their server. */
  readonly repeats: ReadonlyMap<string, readonly string[]>;
}

/**
 * Creates a function that removes repeated GPUs: those whose device name another GPU has, as equal ids do, and ids that somebody has
 * searched for. A GPU stays with the server that reported it first, for as long as that server reports it:
 * no server can take the GPUs of another one. Of servers that become known together, the first in the list has it. A server without
 * repeats stays the same object, so that what consumers derived from it stays valid.
 */
export function createGpuOwners(): (servers: readonly PoolServer[]) => OwnedGpus {
  const namesOf = createNameCache();
  let owners: ReadonlyMap<string, string> = new Map();
  return (servers) => {
    const next = new Map<string, string>();
    for (const { address, gpus = [] } of servers) {
      for (const name of namesOf(gpus)) if (owners.get(name) === address) next.set(name, address);
    }
    const repeats = new Map<string, string[]>();
    const owned = servers.map((server) => {
      const { address, gpus = [] } = server;
      const names = namesOf(gpus);
      const seen = new Set<string>();
      const repeated: string[] = [];
      const kept = gpus.filter(({ id }, index) => {
        const name = names[index] as string;
        if (!next.has(name)) next.set(name, address);
        const isKept = next.get(name) === address && !seen.has(name);
        seen.add(name);
        if (!isKept) repeated.push(id);
        return isKept;
      });
      repeats.set(address, repeated);
      return repeated.length === 0 ? server : { ...server, gpus: kept };
    });
    owners = next;
    return { servers: owned, repeats };
  };
}

/** The device names of GPUs, computed once per list: each is a hash. */
function createNameCache(): (gpus: readonly Gpu[]) => readonly string[] {
  const cache = new WeakMap<readonly Gpu[], readonly string[]>();
  return (gpus) => {
    const names = cache.get(gpus) ?? gpus.map(({ id }) => deviceName(id));
    cache.set(gpus, names);
    return names;
  };
}
