import type { Logger } from "../program/log/log.ts";

/** Shortest time between two lines of the log, in ms: anybody who reaches the port can be refused. */
const PERIOD = 10_000;

/** Creates a function that logs refused connections, at most one in ten seconds. */
export function createRefusalLog(
  log: Logger,
  now = () => performance.now(),
): (reason: string, address: string) => void {
  let next = 0;
  let unlogged = 0;
  return (reason, address) => {
    if (now() < next) {
      unlogged += 1;
      return;
    }
    log.warn("Connection refused", { reason, address, unlogged });
    next = now() + PERIOD;
    unlogged = 0;
  };
}
