import type { PoolServer } from "../inventory.ts";

export interface OwnedGpus {
  readonly servers: readonly PoolServer[];
  /** The ids that were removed, by the address of their server. */
  readonly repeats: ReadonlyMap<string, readonly string[]>;
}

/**
 * Creates a function that removes repeated GPUs. A GPU stays with the server that reported it first, for as long as that server reports it:
 * no server can take the GPUs of another one. Of servers that become known together, the first in the list has it. A server without
 * repeats stays the same object, so that what consumers derived from it stays valid.
 */
export function createGpuOwners(): (servers: readonly PoolServer[]) => OwnedGpus {
  let owners: ReadonlyMap<string, string> = new Map();
  return (servers) => {
    const next = new Map<string, string>();
    for (const { address, gpus = [] } of servers) {
      for (const { id } of gpus) if (owners.get(id) === address) next.set(id, address);
    }
    const repeats = new Map<string, string[]>();
    const owned = servers.map((server) => {
      const { address, gpus = [] } = server;
      const seen = new Set<string>();
      const repeated: string[] = [];
      const kept = gpus.filter(({ id }) => {
        if (!next.has(id)) next.set(id, address);
        const isKept = next.get(id) === address && !seen.has(id);
        seen.add(id);
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
