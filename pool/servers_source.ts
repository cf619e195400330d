import { createLatest } from "../program/latest.ts";
import type { Inventory, InventorySource, PoolServer, ServerSource } from "./inventory.ts";

/** The pool that several servers make up. */
export function createServersSource(addresses: readonly string[], observe: ServerSource): InventorySource {
  return async function* (signal) {
    const ended = new AbortController();
    const untilEnd = AbortSignal.any([signal, ended.signal]);
    const inventory = createLatest<Inventory>();
    const found = new Map<string, PoolServer>();
    const follow = async (address: string) => {
      for await (const server of observe(address, untilEnd)) {
        found.set(address, server);
        if (found.size === addresses.length)
          inventory.set({ servers: addresses.flatMap((name) => found.get(name) ?? []) });
      }
    };
    const following = Promise.all(addresses.map(follow));
    following.catch((error) => ended.abort(error));
    try {
      yield* inventory.changes(untilEnd);
    } finally {
      ended.abort();
      await following;
    }
  };
}
