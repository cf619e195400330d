import { once } from "node:events";
import type { InventorySource } from "../inventory.ts";

/** A pool that nobody can be asked about: one server that always answers and never tells. */
export const staticSource: InventorySource = async function* (signal) {
  yield { servers: [{ address: "static", reachable: true }] };
  if (!signal.aborted) await once(signal, "abort");
};
