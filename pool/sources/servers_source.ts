import { createLatest } from "../../program/latest.ts";
import type { Logger } from "../../program/log/log.ts";
import type { Inventory, InventorySource, PoolServer, ServerSource } from "../inventory.ts";

/** Which servers the pool has, host:port, none twice; again at each change. A list that never changes is enough. */
export type AddressSource = (signal: AbortSignal) => AsyncIterable<readonly string[]> | Iterable<readonly string[]>;

/** The pool that several servers make up. A GPU that is told twice belongs to the first server that tells it. */
export function createServersSource(addresses: AddressSource, observe: ServerSource, log: Logger): InventorySource {
  return async function* (signal) {
    const ended = new AbortController();
    const untilEnd = AbortSignal.any([signal, ended.signal]);
    const inventory = createLatest<Inventory>();
    const followed = new Map<string, Followed>();
    const running = new Set<Promise<void>>();
    const repeats = new Set<string>();

    function tell(): void {
      const servers = [...followed.values()].map(({ server }) => server);
      if (servers.every((server) => server !== undefined))
        inventory.set({ servers: withoutRepeats(servers, logRepeat) });
    }
    function logRepeat(gpu: string, server: string): void {
      if (repeats.has(`${gpu} ${server}`)) return;
      repeats.add(`${gpu} ${server}`);
      log.warn("GPU is left out: it was told before", { gpu, server });
    }
    async function follow(address: string, stop: AbortSignal): Promise<void> {
      for await (const server of observe(address, AbortSignal.any([untilEnd, stop]))) {
        const entry = followed.get(address);
        if (entry?.stop.signal !== stop) return; // the server has left the pool
        entry.server = server;
        tell();
      }
    }
    async function followAll(): Promise<void> {
      for await (const current of addresses(untilEnd)) {
        for (const [address, { stop }] of followed) {
          if (current.includes(address)) continue;
          stop.abort();
          followed.delete(address);
        }
        const before = new Map(followed);
        followed.clear();
        for (const address of current) {
          const entry = before.get(address) ?? { stop: new AbortController() };
          followed.set(address, entry);
          if (!before.has(address)) run(follow(address, entry.stop.signal));
        }
        tell();
      }
    }
    function run(part: Promise<void>): void {
      running.add(part);
      part.catch((error) => ended.abort(error)).finally(() => running.delete(part));
    }

    run(followAll());
    try {
      yield* inventory.changes(untilEnd);
      ended.signal.throwIfAborted();
    } finally {
      ended.abort();
      await Promise.allSettled(running);
    }
  };
}

interface Followed {
  readonly stop: AbortController;
  /** What was found last. */
  server?: PoolServer;
}

/** A server without repeats stays the same object: what consumers derive from it stays valid. */
function withoutRepeats(servers: readonly PoolServer[], onRepeat: (gpu: string, server: string) => void): PoolServer[] {
  const seen = new Set<string>();
  return servers.map((server) => {
    const { address, gpus = [] } = server;
    const kept = gpus.filter(({ id }) => {
      if (seen.has(id)) onRepeat(id, address);
      return !seen.has(id) && seen.add(id);
    });
    return kept.length === gpus.length ? server : { ...server, gpus: kept };
  });
}
