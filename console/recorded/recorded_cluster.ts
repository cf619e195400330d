import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Cluster } from "../view/testing.ts";

/** Path of the recording: JSON of a {@link Cluster}, compressed by gzip. */
export const RECORDED_CLUSTER = join(import.meta.dir, "cluster.json.gz");

/**
 * The objects of a cluster with 125 pool servers of 8 GPUs, made by controller, webhook, drivers and pool servers of this project: `bun
 * bench/console/record.ts`. Three servers are unreachable, four are drained, twelve GPUs are unhealthy, and three have a DeviceTaintRule.
 */
export async function readRecordedCluster(): Promise<Cluster> {
  return JSON.parse(gunzipSync(await readFile(RECORDED_CLUSTER)).toString());
}
