import { USE_UNITS } from "../pool/allocation/claim_support.ts";
import type { Inventory } from "../pool/inventory.ts";

/** Says that servers, such as Bitfusion's own, do not report GPUs that could be published, and what to do. Undefined if there are none. */
export function describeForeign({ servers }: Inventory): string | undefined {
  const addresses = servers.flatMap(({ address, foreign }) => (foreign ? [address] : []));
  if (addresses.length === 0) return undefined;
  return `The pool's servers (${addresses.join(", ")}) do not report GPUs that the scheduler could share: ${USE_UNITS}`;
}
