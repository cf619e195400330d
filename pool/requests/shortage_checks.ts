import type { WaitingClaim } from "../claims/waiting_claim.ts";
import { describeRequest } from "./gpu_request.ts";
import { choiceAmong, limitingLabels, mayReach, type NodeChoice } from "./reach.ts";
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
 * the reason; else all claims of the pod together. Only GPUs count that the pod can reach.
 *
 * @param nodes those that the pod selects. Undefined: any.
 */
export function* shortageChecks(
  claims: readonly WaitingClaim[],
  gpus: readonly GpuSupply[],
  nodes?: NodeChoice,
): Generator<ShortageCheck, void> {
  const choice = nodes && choiceAmong(nodes, labelsOf(gpus));
  const suffix = choice ? ` ${JSON.stringify(choice)}` : "";
  const considered = claims.slice(0, MAX_CLAIMS);
  for (const { description, request } of considered) {
    yield {
      key: request.key + suffix,
      describe: () => {
        const { reached, where } = reachedBy(choice, gpus);
        if (where && reached.length === 0) return `needs ${describeRequest(request)}; ${where}`;
        return withReach(describeShortage(request, reached), where);
      },
      inMessage: (shortage) => (claims.length === 1 ? shortage : `${description} ${shortage}`),
    };
  }
  if (claims.length === 1) return;
  const requests = considered.map(({ request }) => request).sort((a, b) => (a.key < b.key ? -1 : 1));
  yield {
    key: JSON.stringify(requests.map((request) => request.key)) + suffix,
    describe: () => {
      const { reached, where } = reachedBy(choice, gpus);
      return withReach(describeJointShortage(requests, reached), where);
    },
    inMessage: (shortage) => shortage,
  };
}

/** What {@link limitingLabels} returned for each list. */
const knownLabels = new WeakMap<readonly GpuSupply[], ReadonlySet<string>>();

function labelsOf(gpus: readonly GpuSupply[]): ReadonlySet<string> {
  const labels = knownLabels.get(gpus) ?? limitingLabels(gpus);
  knownLabels.set(gpus, labels);
  return labels;
}

/** The GPUs that a pod can reach, and what to say about the others if there are some. */
function reachedBy(choice: NodeChoice | undefined, gpus: readonly GpuSupply[]) {
  const reached = choice ? gpus.filter((gpu) => mayReach(choice, gpu.nodes)) : gpus;
  if (reached.length === gpus.length) return { reached };
  const which =
    reached.length === 0 ? "no GPU of the pool" : `only ${reached.length} of the pool's ${gpus.length} GPUs`;
  return { reached, where: `the nodes that the pod selects reach ${which}` };
}

function withReach(shortage: string | undefined, where: string | undefined): string | undefined {
  return shortage !== undefined && where ? `${shortage}; ${where}` : shortage;
}
