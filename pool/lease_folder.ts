import * as v from "valibot";
import { describeSecretIssue } from "../program/text/describe_issue.ts";

/*
 * The driver takes the leases of a claim, and gives the claim's containers a folder with what proves them. The folder's content changes when
 * a server has granted a lease again, or its CA was replaced.
 */

/** The environment variable with the path of the folder that has a folder for each claim of the container. */
export const LEASES_VARIABLE = "BITFUSION_LEASES";

/** The files in the folder of a claim. */
export const LEASE_FILES = {
  /** The CAs of the servers. */
  ca: "ca.crt",
  leases: "leases.json",
} as const;

const Leases = v.object({
  leases: v.array(
    v.object({
      /** host:port of the server. */
      address: v.string(),
      leaseId: v.string(),
      secret: v.string(),
    }),
  ),
});

/** What proves a lease to its server. */
export type LeaseProof = v.InferOutput<typeof Leases>["leases"][number];

/** The content of `leases.json`. */
export function formatLeases(leases: readonly LeaseProof[]): string {
  const list = leases.map(({ address, leaseId, secret }) => ({ address, leaseId, secret }));
  return `${JSON.stringify({ leases: list }, undefined, 2)}\n`;
}

/** Parses the output of {@link formatLeases}. @throws {Error} names the field and what is expected, but no value. */
export function parseLeases(text: string): readonly LeaseProof[] {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), Leases), text);
  if (result.success) return result.output.leases;
  throw new Error(describeSecretIssue(result.issues[0]));
}
