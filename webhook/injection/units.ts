import { parseInteger } from "../../kubernetes/formats/quantity.ts";
import type { Share } from "../../pool/share.ts";
import { unitsOf } from "../../pool/units.ts";
import { quote } from "../../program/text/quote.ts";
import { SHARE_LIMITS, UNITS } from "../pod/keys.ts";
import { type Container, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

type Resources = NonNullable<Container["resources"]>;
type Quantities = NonNullable<Resources["limits"]>;

const SHARE_KEYS = Object.values(SHARE_LIMITS);

/**
 * The units of a container's share.
 *
 * @param gpuMemoryMb memory of one GPU in MB, if it is configured
 * @throws {Refusal} if a memory share cannot be converted, or exceeds the memory of a GPU.
 */
export function countUnits({ name }: Container, share: Share, gpuMemoryMb: number | undefined): number {
  if ("percent" in share) return unitsOf(share, 0);
  const field = `Container ${quote(name)}: limits["${SHARE_LIMITS.memory}"] is ${share.memoryMb} MB`;
  if (gpuMemoryMb === undefined) {
    const expected = `use ${SHARE_LIMITS.percent}`;
    throw new Refusal("share", `${field}: the memory of the pool's GPUs is not configured, ${expected}`);
  }
  if (share.memoryMb > gpuMemoryMb) {
    throw new Refusal("share", `${field}: expected at most ${gpuMemoryMb} MB, the memory of one GPU`);
  }
  return unitsOf(share, gpuMemoryMb);
}

/**
 * A container's resources with units instead of the limits that request a share. Kubernetes requires equal limits and requests of an
 * extended resource.
 *
 * @throws {Refusal} if the container sets units itself, and its share amounts to others.
 */
export function withUnits(container: Container, units: number): Resources {
  const { name, resources } = container;
  const { limits = {}, requests = {} } = resources ?? {};
  const own = quantityOf(container, UNITS);
  if (own !== undefined && parseInteger(own) !== units) {
    throw new Refusal(
      "share",
      `Container ${quote(name)}: limits["${UNITS}"] is ${quote(own)}, but its share is ${units} units: expected ${units}, or leave it out`,
    );
  }
  return { ...resources, limits: replaceShare(limits, units), requests: replaceShare(requests, units) };
}

function replaceShare(quantities: Quantities, units: number): Quantities {
  const result = { ...quantities };
  for (const key of SHARE_KEYS) delete result[key];
  result[UNITS] = String(units);
  return result;
}
