import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log.ts";
import type { PoolServer, ServerSource } from "./inventory.ts";
import { connectTime } from "./probe.ts";
import { type Told, watchServer } from "./watch.ts";

export interface ServerSourceOptions {
  /** How often a server is looked at, in ms. Death, a hang and return are noticed within twice this time. */
  interval: number;
  log: Logger;
  /** Told of each time that the server has accepted a connection, and how long it took, in ms: one round trip. */
  onRoundTrip?: (address: string, time: number) => void;
}

/** After so many looks, a server that only accepts connections is asked again what it has: it may just have been slow. */
const LOOKS_UNTIL_ASKED = 10;

/**
 * Follows one server in whichever way it allows. One that speaks `bitfusion.pool.v1` is watched: it tells its GPUs, live. One
 * that only accepts connections, as Bitfusion's own do, is probed. One that has ever told is never taken for the latter again.
 */
export function createServerSource({ interval, log, onRoundTrip }: ServerSourceOptions): ServerSource {
  const silence = (interval * 2) / 3;
  return async function* (address, signal) {
    const backoff = createBackoff({ initial: Math.min(100, interval), max: interval / 2 });
    let told: Told | undefined;
    let untilAsked = 0;
    let failures = 0;
    let last: PoolServer | undefined;

    async function accepts(): Promise<boolean> {
      const time = await connectTime(address, silence, signal);
      if (time !== undefined) onRoundTrip?.(address, time);
      return time !== undefined;
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
    /** One lost probe is not a death; two in a row are. */
    function* failed(): Generator<PoolServer> {
      failures += 1;
      if (failures > 1 || last === undefined) yield* found(false);
    }
    function* answered(): Generator<PoolServer> {
      failures = 0;
      backoff.reset();
      yield* found(true);
    }

    while (!signal.aborted) {
      if (!(await accepts())) {
        if (signal.aborted) return;
        yield* failed();
        untilAsked = 0; // it may come back as another program
      } else if (told || untilAsked === 0) {
        using _meter = every(interval, accepts);
        try {
          for await (const next of watchServer(address, { silence, signal })) {
            told = next;
            yield* answered();
          }
        } catch (error) {
          if (signal.aborted) return;
          if (!told) {
            untilAsked = LOOKS_UNTIL_ASKED;
            if (!last?.reachable) {
              log.info("Pool server only accepts connections", { address, reason: messageOf(error) });
            }
            continue;
          }
          yield* failed();
        }
      } else {
        untilAsked -= 1;
        yield* answered();
        await sleep(interval, undefined, { signal }).catch(() => {}); // only the signal ends it early
        continue;
      }
      await backoff.wait(signal).catch(() => {});
    }
  };
}

/** Calls again and again, until disposal. */
function every(interval: number, call: () => unknown): Disposable {
  const timer = setInterval(call, interval);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
