import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import type { PoolServer, ServerSource } from "../inventory.ts";
import { measureConnectTime } from "./probe.ts";
import { createFaultLog, type ReportedInventory } from "./reported_inventory.ts";
import { createMessagePace, watchServer } from "./watch.ts";

export interface ServerSourceOptions {
  /** How often a server is polled, in ms. A crash, a hang and a recovery are detected within twice this time. */
  interval: number;
  /** The current identity for `bitfusion.pool.v1`. Undefined: the servers have another protocol. */
  tls: () => TlsIdentity | undefined;
  log: Logger;
  /** Called each time that the server accepts a connection, with the network round-trip time in ms. */
  onRoundTrip?: (address: string, time: number) => void;
}

/**
 * Longest timeout until the first state of a server is known, in ms: the inventories of all other servers wait for it.
 */
const FIRST_STATE_TIMEOUT = 2000;

/**
 * Creates a source for the state of one server. With an identity, it watches the GPUs of the server over
 * `bitfusion.pool.v1`; a server whose watch fails is unreachable, whatever it answers. Without an identity the server is
 * foreign, as Bitfusion's own are: it is reachable if it accepts connections.
 */
export function createServerSource({ interval, tls, log, onRoundTrip }: ServerSourceOptions): ServerSource {
  // Together less than two intervals: one poll, and two successive connections without a response.
  const period = (interval * 3) / 4;
  const connectTimeout = interval / 2;
  const messageTimeout = (interval * 2) / 3;
  /** How long a server must fail before it is unreachable: it may only be restarting. */
  const failureGrace = interval / 3;
  return async function* (address, signal) {
    const onFaults = createFaultLog(address, log);
    const pace = createMessagePace();
    const backoff = createBackoff({ initial: Math.min(100, interval / 10), max: interval / 4 });
    let reported: ReportedInventory | undefined;
    let failingSince: number | undefined;
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
      const server: PoolServer = { address, reachable, ...(tls() || reported ? {} : { foreign: true }), ...reported };
      if (isDeepStrictEqual(server, last)) return;
      if (last?.reachable !== reachable) {
        if (reachable) log.info("Pool server is reachable", { address });
        else log.warn("Pool server is not reachable", { address, reason });
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

    while (!signal.aborted) {
      const start = performance.now();
      let failure = "It accepts no connections";
      if (await acceptsConnection()) {
        const identity = tls();
        if (!identity) {
          backoff.reset();
          yield* onSuccess();
          const rest = Math.max(0, start + period - performance.now());
          await sleep(rest, undefined, { signal }).catch(() => {}); // rejects only when aborted
          continue;
        }
        using _probes = callEvery(interval, acceptsConnection);
        let count = 0;
        try {
          const options = { tls: identity, messageTimeout: shortenFirst(messageTimeout), onFaults, pace, signal };
          for await (const next of watchServer(address, options)) {
            if (!isDeepStrictEqual(next, reported)) reported = next; // consumers cache by object identity
            count += 1;
            if (count > 1) backoff.reset(); // a server that ends each stream early is retried with backoff
            yield* onSuccess();
          }
        } catch (error) {
          if (signal.aborted) return;
          failure = messageOf(error);
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
