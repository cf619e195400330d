import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { PoolServer, ServerSource } from "../inventory.ts";
import { connectTime } from "./probe.ts";
import { type Told, watchServer } from "./watch.ts";

export interface ServerSourceOptions {
  /** How often a server is looked at, in ms. Death, a hang and return are noticed within twice this time. */
  interval: number;
  log: Logger;
  /** Told of each time that the server has accepted a connection, and how long it took, in ms: one round trip. */
  onRoundTrip?: (address: string, time: number) => void;
}

/** How long a server may take to say its first word, in ms: what all others have told waits for it. */
const FIRST_WORD = 2000;

/**
 * Follows one server in whichever way it allows. One that speaks `bitfusion.pool.v1` is watched: it tells its GPUs, live. One
 * that only accepts connections, as Bitfusion's own do, is asked again at each look: it may just have been slow. One that has ever told
 * is never taken for the latter again.
 */
export function createServerSource({ interval, log, onRoundTrip }: ServerSourceOptions): ServerSource {
  // Together less than two intervals: a look, and two connections in a row that are never answered.
  const period = (interval * 3) / 4;
  const patience = interval / 2;
  const silence = (interval * 2) / 3;
  /** How long it must have failed: a server that just restarts is not dead. */
  const confirmation = interval / 3;
  return async function* (address, signal) {
    const backoff = createBackoff({ initial: Math.min(100, interval / 10), max: interval / 4 });
    let told: Told | undefined;
    let failingSince: number | undefined;
    let last: PoolServer | undefined;

    async function accepts(): Promise<boolean> {
      const time = await connectTime(address, atFirst(patience), signal);
      if (time !== undefined) onRoundTrip?.(address, time);
      return time !== undefined;
    }
    function atFirst(time: number): number {
      return last ? time : Math.min(time, FIRST_WORD);
    }
    function* found(reachable: boolean): Generator<PoolServer> {
      const server = { address, reachable, ...told };
      if (isDeepStrictEqual(server, last)) return;
      if (last?.reachable !== reachable) {
        log.info(reachable ? "Pool server answers" : "Pool server does not answer", { address });
      }
      last = server;
      yield server;
    }
    /** One lost probe is not a death, nor are several within a moment. */
    function* failed(): Generator<PoolServer> {
      const now = performance.now();
      failingSince ??= now;
      if (last === undefined || now - failingSince >= confirmation) yield* found(false);
    }
    function* answered(): Generator<PoolServer> {
      failingSince = undefined;
      yield* found(true);
    }

    while (!signal.aborted) {
      const start = performance.now();
      if (await accepts()) {
        using _meter = every(interval, accepts);
        let messages = 0;
        try {
          for await (const next of watchServer(address, { silence: atFirst(silence), signal })) {
            if (!isDeepStrictEqual(next, told)) told = next; // else consumers keep what they derived from it
            messages += 1;
            if (messages > 1) backoff.reset(); // one that ends each stream at once is not asked again at once
            yield* answered();
          }
        } catch (error) {
          if (signal.aborted) return;
          if (!told) {
            if (!last?.reachable) {
              log.info("Pool server only accepts connections", { address, reason: messageOf(error) });
            }
            backoff.reset();
            yield* answered();
            const rest = Math.max(0, start + period - performance.now());
            await sleep(rest, undefined, { signal }).catch(() => {}); // only the signal ends it early
            continue;
          }
        }
      }
      if (signal.aborted) return;
      yield* failed();
      await backoff.wait(signal).catch(() => {});
    }
  };
}

/** Calls again and again, until disposal. */
function every(interval: number, call: () => unknown): Disposable {
  const timer = setInterval(call, interval);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
