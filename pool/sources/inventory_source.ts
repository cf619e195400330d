import { isDeepStrictEqual } from "node:util";
import { createLatest } from "../../program/latest.ts";
import type { Logger } from "../../program/log/log.ts";
import { deviceName } from "../device_name.ts";
import type { Inventory, InventorySource, ObservedServer, PoolServer, ServerSource } from "../inventory.ts";
import type { NodeLabels, ServerEntry } from "../servers/server_entry.ts";
import { createGpuOwners } from "./gpu_owners.ts";
import { createGathering } from "./pacing/gather.ts";
import { createFaultLog, type InventoryFault } from "./reported_inventory.ts";

/** Yields the pool servers, without duplicates, and again at each change. It may end after the first list. */
export type ServerListSource = (
  signal: AbortSignal,
) => AsyncIterable<readonly ServerEntry[]> | Iterable<readonly ServerEntry[]>;

/** How long servers are waited for that become unreachable, or reachable, together with others, in ms. */
export interface GatheringTimes {
  /** A loss waits this long while other servers are failing. */
  readonly losses: number;
  readonly returns: number;
}

const AT_ONCE: GatheringTimes = { losses: 0, returns: 0 };

/**
 * Creates a source that combines the states of several servers. A GPU that is reported twice belongs to the server that
 * reported it first; the repeat is logged. Servers that become unreachable together, such as those of a rack, are one change.
 */
export function createInventorySource(
  servers: ServerListSource,
  observe: ServerSource,
  log: Logger,
  times: GatheringTimes = AT_ONCE,
): InventorySource {
  return async function* (signal) {
    const ended = new AbortController();
    const untilEnd = AbortSignal.any([signal, ended.signal]);
    const inventory = createLatest<Inventory>();
    const followed = new Map<string, Followed>();
    const running = new Set<Promise<void>>();
    const ownGpus = createGpuOwners();
    const losses = createGathering(times.losses);
    const returns = createGathering(times.returns);
    let published: readonly PoolServer[] | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;

    /** Publishes the inventory when the state of every server is known. */
    function publish(): void {
      const entries = [...followed.values()];
      if (!entries.every(isKnown)) return;
      const moreExpected = entries.some(({ server }) => server.failing);
      const waits = {
        loss: losses({ hasChange: entries.some((entry) => changeOf(entry) === "loss"), moreExpected }),
        return: returns({ hasChange: entries.some((entry) => changeOf(entry) === "return"), moreExpected: true }),
      };
      clearTimeout(timer);
      const next = Math.min(...Object.values(waits).filter(Boolean));
      if (Number.isFinite(next)) timer = setTimeout(publish, next);
      const states = entries.map((entry) => {
        const change = changeOf(entry);
        if (!change || waits[change] === 0) entry.published = withoutFailing(entry.server, entry.published);
        return entry.published as PoolServer;
      });
      const before = published;
      if (states.length === before?.length && states.every((server, index) => server === before[index])) return;
      published = states;
      const owned = ownGpus(states);
      for (const [address, ids] of owned.repeats) followed.get(address)?.onFaults(ids.map(repeatFault));
      inventory.set({ servers: owned.servers });
    }
    async function follow(address: string, stop: AbortSignal): Promise<void> {
      for await (const server of observe(address, AbortSignal.any([untilEnd, stop]))) {
        const entry = followed.get(address);
        if (entry?.stop.signal !== stop) return; // the server was removed from the pool
        entry.server = withNodes(server, entry.nodes);
        publish();
      }
    }
    async function followAll(): Promise<void> {
      for await (const current of servers(untilEnd)) {
        const addresses = new Set(current.map(({ address }) => address));
        for (const [address, { stop }] of followed) {
          if (addresses.has(address)) continue;
          stop.abort();
          followed.delete(address);
        }
        const previous = new Map(followed);
        followed.clear();
        for (const { address, nodes } of current) {
          const entry = previous.get(address) ?? {
            stop: new AbortController(),
            onFaults: createFaultLog(address, log),
            nodes,
          };
          if (!isDeepStrictEqual(entry.nodes, nodes)) {
            entry.nodes = nodes;
            if (entry.server) entry.server = withNodes(entry.server, nodes);
          }
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
      clearTimeout(timer);
      await Promise.allSettled(running);
    }
  };
}

interface Followed {
  readonly stop: AbortController;
  /** Logs the GPUs that the server repeats. */
  readonly onFaults: (faults: readonly InventoryFault[]) => void;
  nodes: NodeLabels | undefined;
  /** The last state. Undefined until it is known. */
  server?: ObservedServer;
  /** The state that was published last. */
  published?: PoolServer;
}

function isKnown(entry: Followed): entry is Followed & { server: ObservedServer } {
  return entry.server !== undefined;
}

/** What of an entry has not been published yet, if it can wait. */
function changeOf({ server, published }: Followed): "loss" | "return" | undefined {
  if (!server || !published || server.reachable === published.reachable) return undefined;
  return server.reachable ? "return" : "loss";
}

/** A server as it is published: the same object as before if it is equal. */
function withoutFailing({ failing: _, ...server }: ObservedServer, before: PoolServer | undefined): PoolServer {
  return before && isDeepStrictEqual(server, before) ? before : server;
}

function withNodes({ nodes: _, ...server }: ObservedServer, nodes: NodeLabels | undefined): ObservedServer {
  return nodes ? { ...server, nodes } : server;
}

function repeatFault(gpu: string): InventoryFault {
  return { gpu, reason: `id is "${gpu}": expected an id whose device name (${deviceName(gpu)}) no other GPU has` };
}
