import type { ResourceClaim } from "../kubernetes/resource_claim.ts";
import type { ResourceSlice } from "../kubernetes/resource_slice.ts";
import type { Objects } from "../kubernetes/watch.ts";
import type { Inventory } from "../pool/inventory.ts";

/** What is known so far, here and in the cluster. */
export interface State {
  readonly inventory?: Inventory;
  /** Of the driver. */
  readonly slices?: Objects<ResourceSlice>;
  /** All of the cluster. */
  readonly claims?: Objects<ResourceClaim>;
}

/** All of it. */
export type WholeState = Required<State>;

export function isWhole(state: State): state is WholeState {
  return state.inventory !== undefined && state.slices !== undefined && state.claims !== undefined;
}
