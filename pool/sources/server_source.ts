import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { GrpcChannel } from "../../grpc/client.ts";
import { createBackoff } from "../../program/backoff.ts";
import { createLatest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import type { ObservedServer, ServerSource } from "../inventory.ts";
import { createTurns } from "./pacing/turns.ts";
import { measureConnectTime } from "./probe.ts";
import { createFaultLog, type ReportedInventory } from "./reported_inventory.ts";
import { createMessagePace, watchServer } from "./watch.ts";
import type { WatchedServers } from "./watched_servers.ts";

export interface ServerSourceOptions {
  /** How often a server is polled, in ms. A crash, a hang and a recovery are detected within twice this time. */
  interval: number;
  /** The current identity for `bitfusion.pool.v1`. Undefined: the servers have another protocol. */
  tls: () => TlsIdentity | undefined;
  log: Logger;
  /** Called each time that the server accepts a connection, with the network round-trip time in ms. */
  onRoundTrip?: (address: string, time: number) => void;
  /** Gets the connections on which the servers are watched, for other calls. */
  watched?: WatchedServers;
}

/**
 * Longest timeout until the first state of a server is known, in ms: the inventories of all other servers wait for it.
 */
const FIRST_STATE_TIMEOUT = 2000;

/** Handshakes take processor time: with more at once, none would be ready in time where a thousand servers are dialed. */
const DIALS = { count: 32, longest: FIRST_STATE_TIMEOUT };

/**
 * Creates a source for the state of one server. With an identity, it watches the GPUs of the server over
 * `bitfusion.pool.v1`; a server whose watch fails is unreachable, whatever it answers. Without an identity the server is
 * foreign, as Bitfusion's own are: it is reachable if it accepts connections.
 */
export function createServerSource({ interval, tls, log, onRoundTrip, watched }: ServerSourceOptions): ServerSource {
  const period = (interval * 2) / 3;
  const connectTimeout = interval / 2;
  // Heartbeats come twice in an interval: each costs the same as a message, and a thousand servers send them.
  const messageTimeout = (interval * 3) / 4;
  /** How long a server must fail before it is unreachable: it may only be restarting. */
  const failureGrace = interval / 3;
  const dials = createTurns(DIALS);
  return async function* (address, signal) {
    const ended = new AbortController();
    const untilEnded = AbortSignal.any([signal, ended.signal]);
    const onFaults = createFaultLog(address, log);
    const pace = createMessagePace();
    const backoff = createBackoff({ initial: Math.min(100, interval / 10), max: interval / 4 });
    const state = createLatest<ObservedServer>();
    let reported: ReportedInventory | undefined;
    let failure = "";
    let grace: ReturnType<typeof setTimeout> | undefined;

    async function acceptsConnection(): Promise<boolean> {
      const time = await measureConnectTime(address, shortenFirst(connectTimeout), untilEnded);
      if (time !== undefined) onRoundTrip?.(address, time);
      return time !== undefined;
    }
    function shortenFirst(timeout: number): number {
      return state.current ? timeout : Math.min(timeout, FIRST_STATE_TIMEOUT);
    }
    function update(observed: Pick<ObservedServer, "reachable" | "failing">): void {
      const { reachable } = observed;
      const before = state.current;
      const server = { address, ...observed, ...(tls() || reported ? {} : { foreign: true as const }), ...reported };
      if (isDeepStrictEqual(server, before)) return;
      if (before?.reachable !== reachable) {
        if (reachable) log.info("Pool server is reachable", { address });
        else log.warn("Pool server is not reachable", { address, reason: failure });
      }
      state.set(server);
    }
    /** A server is unreachable only if it fails for some time, not after one lost probe or several in a short time. */
    function onFailure(reason: string): void {
      failure = reason;
      if (!state.current) update({ reachable: false });
      if (!state.current?.reachable || grace) return;
      update({ reachable: true, failing: true });
      grace = setTimeout(() => {
        grace = undefined;
        update({ reachable: false });
      }, failureGrace);
    }
    /** Of servers that die together, the last is late before the first is unreachable: so all become known together. */
    function onLate(): void {
      if (state.current?.reachable) update({ reachable: true, failing: true });
    }
    function onSuccess(): void {
      clearTimeout(grace);
      grace = undefined;
      update({ reachable: true });
    }
    async function watch(identity: TlsIdentity): Promise<void> {
      const dial = await dials.take(untilEnded);
      let count = 0;
      try {
        const timeouts = { messageTimeout, firstTimeout: shortenFirst(messageTimeout) };
        const onAnswer = watched && ((channel: GrpcChannel) => watched.add(address, channel));
        const options = { ...timeouts, tls: identity, onAnswer, onLate, onFaults, pace, signal: untilEnded };
        for await (const next of watchServer(address, options)) {
          count += 1;
          if (count === 1) dial[Symbol.dispose]();
          if (count === 2) backoff.reset(); // a server that ends each stream early is retried with backoff
          if (count > 1 && next === reported && !state.current?.failing) continue;
          if (!isDeepStrictEqual(next, reported)) reported = next; // consumers cache by object identity
          onSuccess();
        }
      } finally {
        dial[Symbol.dispose]();
      }
    }
    async function follow(): Promise<void> {
      while (!untilEnded.aborted) {
        const start = performance.now();
        let reason = "It accepts no connections";
        if (await acceptsConnection()) {
          const identity = tls();
          if (!identity) {
            backoff.reset();
            onSuccess();
            const rest = Math.max(0, start + period - performance.now());
            await sleep(rest, undefined, { signal: untilEnded }).catch(() => {}); // rejects only when aborted
            continue;
          }
          using _probes = onRoundTrip && callEvery(interval, acceptsConnection);
          reason = await watch(identity).then(() => "", messageOf);
        }
        if (untilEnded.aborted) return;
        onFailure(reason);
        await backoff.wait(untilEnded).catch(() => {}); // rejects only when aborted
      }
    }

    const following = follow().catch((error) => ended.abort(error));
    try {
      yield* state.changes(untilEnded);
      ended.signal.throwIfAborted();
    } finally {
      ended.abort();
      clearTimeout(grace);
      await following;
    }
  };
}

/** Calls a function every `interval` ms until disposal. */
function callEvery(interval: number, call: () => unknown): Disposable {
  const timer = setInterval(call, interval);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
