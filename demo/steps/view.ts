import { createColors } from "picocolors";
import { podsTables } from "../../console/kubectl/pods/pods_table.ts";
import { poolTable } from "../../console/kubectl/pool/pool_table.ts";
import { viewPool } from "../../console/view/view.ts";
import { PODS, type Pod } from "../../kubernetes/objects/pod.ts";
import { RESOURCE_CLAIMS, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { explain, show } from "../print.ts";
import type { Demo } from "./demo.ts";

/** Shows who has which GPU, and who waits: what the page and `kubectl bitfusion` show. */
export function showView({ store }: Pick<Demo, "store">): void {
  explain("Who has which GPU, who waits, and why, as the page (docs/console.md) and kubectl bitfusion show it:");
  const view = viewPool({
    slices: store.list<ResourceSlice>(RESOURCE_SLICES),
    claims: store.list<ResourceClaim>(RESOURCE_CLAIMS),
    pods: store.list<Pod>(PODS),
  });
  const terminal = { colors: createColors(process.stdout.isTTY), unicode: true };
  const options = { terminal, now: Date.now(), wide: false };
  show(poolTable(view, { ...options, claims: "all" }));
  show(`\n${podsTables(view, options)}`);
}
