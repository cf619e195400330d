import { createLatest } from "../../program/latest.ts";
import type { Logger } from "../../program/log/log.ts";
import { deviceName } from "../device_name.ts";
import type { Inventory, InventorySource, PoolServer, ServerSource } from "../inventory.ts";
import { createGpuOwners } from "./gpu_owners.ts";
import { createFaultLog, type InventoryFault } from "./reported_inventory.ts";

/**
 * Yields the host:port of each pool server, without duplicates, and again at each change. It may end after the first
 * list.
 */
export type AddressSource = (signal: AbortSignal) => AsyncIterable<readonly string[]> | Iterable<readonly string[]>;

/**
 * Creates a source that combines the states of several servers. A GPU that is reported twice belongs to the server that
 * reported it first; the repeat is logged.
 */
export function createInventorySource(addresses: AddressSource, observe: ServerSource, log: Logger): InventorySource {
  return async function* (signal) {
    const ended = new AbortController();
    const untilEnd = AbortSignal.any([signal, ended.signal]);
    const inventory = createLatest<Inventory>();
    const followed = new Map<string, Followed>();
    const running = new Set<Promise<void>>();
    const ownGpus = createGpuOwners();

    /** Publishes the inventory when the state of every server is known. */
    function publish(): void {
      const servers = [...followed.values()].map(({ server }) => server);
      if (!servers.every((server) => server !== undefined)) return;
      const owned = ownGpus(servers);
      for (const [address, ids] of owned.repeats) followed.get(address)?.onFaults(ids.map(repeatFault));
      inventory.set({ servers: owned.servers });
    }
    async function follow(address: string, stop: AbortSignal): Promise<void> {
      for await (const server of observe(address, AbortSignal.any([untilEnd, stop]))) {
        const entry = followed.get(address);
        if (entry?.stop.signal !== stop) return; // the server was removed from the pool
        entry.server = server;
        publish();
      }
    }
    async function followAll(): Promise<void> {
      for await (const current of addresses(untilEnd)) {
        for (const [address, { stop }] of followed) {
          if (current.includes(address)) continue;
          stop.abort();
          followed.delete(address);
        }
        const previous = new Map(followed);
        followed.clear();
        for (const address of current) {
          const entry = previous.get(address) ?? {
            stop: new AbortController(),
            onFaults: createFaultLog(address, log),
          };
          followed.set(address, entry);
          if (!previous.has(address)) run(follow(address, entry.stop.signal));
        }
        publish();
      }
    }
    function run(task: Promise<void>): void {
      running.add(task);
      task.catch((error) => ended.abort(error)).finally(() => running.delete(task));
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
  /** Logs the GPUs that the server repeats. */
  readonly onFaults: (faults: readonly InventoryFault[]) => void;
  /** The last state. Undefined until it is known. */
  server?: PoolServer;
}

function repeatFault(gpu: string): InventoryFault {
  return { gpu, reason: `id is "${gpu}": expected an id whose device name (${deviceName(gpu)}) no other GPU has` };
}
