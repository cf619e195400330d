import type { Logger } from "../../program/log/log.ts";
import type { Lease, Ledger } from "./ledger.ts";

/** Ends the leases that were not renewed in time. */
export function endExpired(ledger: Ledger, log: Logger): void {
  for (const lease of ledger.expire()) log.info("Lease ended", { why: "expired", ...leaseFields(lease) });
}

/** What the log says of a lease. */
export function leaseFields({ holder, owner, gpus }: Lease) {
  return { client: holder.client, owner, gpus, units: gpus.reduce((sum, { units }) => sum + units, 0) };
}
