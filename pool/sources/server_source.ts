import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { PoolServer, ServerSource } from "../inventory.ts";
import { isClosed, isForeignAnswer } from "./foreign_answer.ts";
import { measureConnectTime, speaksTls } from "./probe.ts";
import { createFaultLog, type ReportedInventory } from "./reported_inventory.ts";
import { watchServer } from "./watch.ts";

export interface ServerSourceOptions {
  /** How often a server is polled, in ms. A crash, a hang and a recovery are detected within twice this time. */
  interval: number;
  log: Logger;
  /** Called each time that the server accepts a connection, with the network round-trip time in ms. */
  onRoundTrip?: (address: string, time: number) => void;
}

/**
 * Longest timeout until the first state of a server is known, in ms: the inventories of all other servers wait for it.
 */
const FIRST_STATE_TIMEOUT = 2000;

/**
 * Creates a source for the state of one server. It watches the GPUs of a server that supports `bitfusion.pool.v1`. A
 * server that answers in another protocol, as Bitfusion's own do, is reachable and foreign. It may be replaced, so each
 * poll tries the watch again. A server that accepts connections and does not answer is unreachable, and so is one whose
 * watch fails after a first report.
 */
export function createServerSource({ interval, log, onRoundTrip }: ServerSourceOptions): ServerSource {
  // Together less than two intervals: one poll, and two successive connections without a response.
  const period = (interval * 3) / 4;
  const connectTimeout = interval / 2;
  const messageTimeout = (interval * 2) / 3;
  /** How long a server must fail before it is unreachable: it may only be restarting. */
  const failureGrace = interval / 3;
  return async function* (address, signal) {
    const onFaults = createFaultLog(address, log);
    const backoff = createBackoff({ initial: Math.min(100, interval / 10), max: interval / 4 });
    let reported: ReportedInventory | undefined;
    let failingSince: number | undefined;
    let foreign = false;
    let last: PoolServer | undefined;

    async function acceptsConnection(): Promise<boolean> {
      const time = await measureConnectTime(address, shortenFirst(connectTimeout), signal);
      if (time !== undefined) onRoundTrip?.(address, time);
      return time !== undefined;
    }
    function shortenFirst(timeout: number): number {
      return last ? timeout : Math.min(timeout, FIRST_STATE_TIMEOUT);
    }
    function* update(reachable: boolean, reason?: string): Generator<PoolServer> {
      const server = { address, reachable, ...(foreign && !reported ? { foreign } : {}), ...reported };
      if (isDeepStrictEqual(server, last)) return;
      if (last?.reachable !== reachable) {
        if (reachable) log.info("Pool server is reachable", { address });
        else log.info("Pool server is not reachable", { address, reason });
      }
      last = server;
      yield server;
    }
    /** A server is unreachable only if it fails for some time, not after one lost probe or several in a short time. */
    function* onFailure(reason: string): Generator<PoolServer> {
      const now = performance.now();
      failingSince ??= now;
      if (last === undefined || now - failingSince >= failureGrace) yield* update(false, reason);
    }
    function* onSuccess(): Generator<PoolServer> {
      failingSince = undefined;
      yield* update(true);
    }

    async function isForeign(error: unknown): Promise<boolean> {
      if (reported) return false;
      if (isForeignAnswer(error)) return true;
      // A server with TLS closes a connection without. This one is without.
      return isClosed(error) && (await speaksTls(address, shortenFirst(connectTimeout), signal));
    }

    while (!signal.aborted) {
      const start = performance.now();
      let failure = "It accepts no connections";
      if (await acceptsConnection()) {
        using _probes = callEvery(interval, acceptsConnection);
        let count = 0;
        try {
          const messages = watchServer(address, { messageTimeout: shortenFirst(messageTimeout), onFaults, signal });
          for await (const next of messages) {
            if (!isDeepStrictEqual(next, reported)) reported = next; // consumers cache by object identity
            count += 1;
            if (count > 1) backoff.reset(); // a server that ends each stream early is retried with backoff
            yield* onSuccess();
          }
        } catch (error) {
          if (signal.aborted) return;
          failure = isClosed(error) ? "It closed the connection without an answer" : messageOf(error);
          if (await isForeign(error)) {
            if (!foreign) log.info("Pool server does not report its GPUs", { address, reason: failure });
            foreign = true;
            backoff.reset();
            yield* onSuccess();
            const rest = Math.max(0, start + period - performance.now());
            await sleep(rest, undefined, { signal }).catch(() => {}); // rejects only when aborted
            continue;
          }
        }
      }
      if (signal.aborted) return;
      yield* onFailure(failure);
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  };
}

/** Calls a function every `interval` ms until disposal. */
function callEvery(interval: number, call: () => unknown): Disposable {
  const timer = setInterval(call, interval);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
