import { once } from "node:events";
import type { InventorySource } from "../inventory.ts";

/**
 * Yields a pool with one server that is always reachable and never reports its GPUs. For a pool without POOL_SETTINGS.
 */
export const staticSource: InventorySource = async function* (signal) {
  yield { servers: [{ address: "static", reachable: true, foreign: true }] };
  if (!signal.aborted) await once(signal, "abort");
};
