import { isDeepStrictEqual } from "node:util";
import * as v from "valibot";
import { describeSecretIssue } from "../../../program/text/describe_issue.ts";
import type { GpuShare } from "../claims/claim.ts";
import { HeldLease } from "../leases/held_lease.ts";

const PreparedClaim = v.object({
  namespace: v.string(),
  name: v.string(),
  uid: v.string(),
  owner: v.object({ namespace: v.string(), pod: v.string(), container: v.string() }),
  node: v.string(),
  /** The names of the containers that the claim is for. None: any container that mounts it. */
  containers: v.optional(v.array(v.string()), []),
  shares: v.array(
    v.object({
      request: v.string(),
      pool: v.string(),
      device: v.string(),
      shareId: v.optional(v.string()),
      units: v.number(),
    }),
  ),
  leases: v.array(HeldLease),
});

/** A prepared claim with its leases, as the driver records it. */
export type PreparedClaim = Readonly<v.InferOutput<typeof PreparedClaim>>;

/** Whether the claim was prepared for this allocation. */
export function isPreparedFor(shares: readonly GpuShare[], { shares: prepared }: PreparedClaim): boolean {
  return isDeepStrictEqual(JSON.parse(JSON.stringify(shares)), prepared);
}

/** The content of a claim's record. Equal claims have equal records. */
export function formatRecord(claim: PreparedClaim): string {
  return `${JSON.stringify(v.parse(PreparedClaim, claim), undefined, 2)}\n`;
}

/** Parses the output of {@link formatRecord}. @throws {Error} names the field and what is expected, but no secret. */
export function parseRecord(text: string): PreparedClaim {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), PreparedClaim), text);
  if (result.success) return result.output;
  throw new Error(describeSecretIssue(result.issues[0]));
}
