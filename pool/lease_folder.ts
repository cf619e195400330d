import * as v from "valibot";
import { describeSecretIssue } from "../program/text/describe_issue.ts";

/*
 * The driver takes the leases of a claim, and gives the claim's containers a folder with what proves them. The folder's content changes when
 * a server has granted a lease again, has another gate, or its CA was replaced.
 */

/** The environment variable with the path of the folder that has a folder for each claim of the container. */
export const LEASES_VARIABLE = "BITFUSION_LEASES";

/** The files in the folder of a claim. */
export const LEASE_FILES = {
  /** The CAs of the servers. */
  ca: "ca.crt",
  leases: "leases.json",
} as const;

const ClaimLeases = v.object({
  /** The names of the containers that the claim is for. None: any container that mounts the folder. */
  containers: v.optional(v.array(v.string()), []),
  leases: v.array(
    v.object({
      /** host:port of the server. */
      address: v.string(),
      leaseId: v.string(),
      secret: v.string(),
      /** The TLS port of the server through which the GPUs are used. Not set if the server forwards no calls. */
      gatePort: v.optional(v.number()),
    }),
  ),
});

/** The content of `leases.json`: the leases of a claim, and for whom they are. */
export type ClaimLeases = Readonly<v.InferOutput<typeof ClaimLeases>>;

/** What proves a lease to its server. */
export type LeaseProof = ClaimLeases["leases"][number];

/** The content of `leases.json`. */
export function formatLeases({ containers, leases }: ClaimLeases): string {
  return `${JSON.stringify(v.parse(ClaimLeases, { containers, leases }), undefined, 2)}\n`;
}

/** Parses the output of {@link formatLeases}. @throws {Error} names the field and what is expected, but no value. */
export function parseLeases(text: string): ClaimLeases {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), ClaimLeases), text);
  if (result.success) return result.output;
  throw new Error(describeSecretIssue(result.issues[0]));
}
