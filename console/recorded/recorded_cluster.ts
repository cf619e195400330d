import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import type { Event } from "../../kubernetes/objects/event.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";

/** Path of the recording: JSON of a {@link RecordedCluster}, compressed by gzip. */
export const RECORDED_CLUSTER = join(import.meta.dir, "cluster.json.gz");

/**
 * The objects of a cluster with 125 pool servers of 8 GPUs, made by controller, webhook, drivers and pool servers of this project: `bun
 * bench/console/record.ts`. Three servers are unreachable, four are drained, twelve GPUs are unhealthy, and three have a DeviceTaintRule.
 */
export interface RecordedCluster {
  readonly slices: readonly ResourceSlice[];
  readonly claims: readonly ResourceClaim[];
  readonly pods: readonly Pod[];
  readonly events: readonly Event[];
  readonly taintRules: readonly DeviceTaintRule[];
}

export async function readRecordedCluster(): Promise<RecordedCluster> {
  return JSON.parse(gunzipSync(await readFile(RECORDED_CLUSTER)).toString());
}
