import type { WaitingClaim } from "../claims/waiting_claim.ts";
import { describeJointShortage, describeShortage } from "./shortage.ts";
import type { GpuSupply } from "./supply.ts";

/** A question to the pool about the claims of a pod. */
interface ShortageCheck {
  /** Equal for checks with the same answer. */
  readonly key: string;
  /** What is missing. Undefined: nothing. It looks at every GPU. */
  readonly describe: () => string | undefined;
  /** The answer as a message about the pod. */
  readonly inMessage: (shortage: string) => string;
}

/** The most claims of a pod that are looked at: owner references can name any pod. */
const MAX_CLAIMS = 32;

/**
 * What to ask about the claims of a pod that wait, in this order; the first answer is why the pod waits. If one claim alone lacks room, that is
 * the reason; else all claims of the pod together.
 */
export function* shortageChecks(
  claims: readonly WaitingClaim[],
  gpus: readonly GpuSupply[],
): Generator<ShortageCheck, void> {
  const considered = claims.slice(0, MAX_CLAIMS);
  for (const { description, request } of considered) {
    yield {
      key: request.key,
      describe: () => describeShortage(request, gpus),
      inMessage: (shortage) => (claims.length === 1 ? shortage : `${description} ${shortage}`),
    };
  }
  if (claims.length === 1) return;
  const requests = considered.map(({ request }) => request).sort((a, b) => (a.key < b.key ? -1 : 1));
  yield {
    key: JSON.stringify(requests.map((request) => request.key)),
    describe: () => describeJointShortage(requests, gpus),
    inMessage: (shortage) => shortage,
  };
}
