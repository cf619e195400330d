import { type ClaimId, formatClaim, type ReadClaim } from "./claim.ts";

/** Reads claims, and knows of which the API server has told recently. */
export interface ConfirmedClaims {
  readonly readClaim: ReadClaim;
  /** Longest time in which the leases of a claim may be renewed without an answer about it, in ms. */
  readonly limit: number;
  /** Whether the API server has answered about the claim within the limit, or could not be asked for as long yet. */
  isConfirmed(claim: Pick<ClaimId, "namespace" | "name">): boolean;
}

export interface ConfirmedClaimsOptions {
  readClaim: ReadClaim;
  /** In ms. */
  limit: number;
  /** The current time in ms, of a clock that only runs forward. */
  now?: () => number;
}

/** Counts from now on: what an earlier instance of the driver was told is not known. */
export function createConfirmedClaims({
  readClaim,
  limit,
  now = () => performance.now(),
}: ConfirmedClaimsOptions): ConfirmedClaims {
  const startedAt = now();
  /** When the API server answered last, by namespace/name. Without those that are older than the limit. */
  const answers = new Map<string, number>();
  return {
    limit,
    async readClaim(claim, signal) {
      const answer = await readClaim(claim, signal);
      const time = now();
      for (const [name, answeredAt] of answers) if (time - answeredAt > limit) answers.delete(name);
      answers.set(formatClaim(claim), time);
      return answer;
    },
    isConfirmed: (claim) => now() - (answers.get(formatClaim(claim)) ?? startedAt) <= limit,
  };
}
