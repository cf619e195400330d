import type { Logger } from "../program/log/log.ts";
import type { Lease } from "./leases/ledger.ts";

/**
 * How long no lease may have existed until a server counts as drained, in ms. The cluster must have learned that the server is drained, and pods that
 * were scheduled before must have taken their leases.
 */
const QUIET_TIME = 10_000;

/** The most owners that a message lists. */
const MAX_OWNERS = 20;

/** Reports how far a server is drained. Called again and again with whether it is, and with its leases. */
export type DrainReport = (draining: boolean, leases: readonly Pick<Lease, "owner">[]) => void;

/** Creates a function that logs when the number of leases changes while a server is drained, and when it can be stopped. */
export function createDrainReport({ now, log }: { now: () => number; log: Logger }): DrainReport {
  /** The number of leases in the last message. Undefined while the server is not drained. */
  let left: number | undefined;
  let leftSince = 0;
  let isDrained = false;

  return (draining, leases) => {
    if (!draining) {
      if (left !== undefined) log.info("Draining ended: the server takes new pods");
      left = undefined;
      return;
    }
    if (leases.length !== left) {
      left = leases.length;
      leftSince = now();
      isDrained = false;
      const owners = leases.slice(0, MAX_OWNERS).map(({ owner }) => owner);
      log.info("Draining: no new pods, waiting for leases to end", { leases: left, owners });
    }
    if (left > 0 || isDrained || now() - leftSince < QUIET_TIME) return;
    isDrained = true;
    log.info("Drained: no lease is left, the server can be stopped");
  };
}
