import type { Share } from "../../pool/share.ts";
import { unitsOf } from "../../pool/units.ts";
import { ASKED, UNITS } from "../pod/keys.ts";
import type { Container } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

type Resources = NonNullable<Container["resources"]>;
type Quantities = NonNullable<Resources["limits"]>;

const ASKED_KEYS = Object.values(ASKED);

/** The units of a container's share. @throws {Refusal} when they cannot be known, or are more than a GPU has. */
export function countUnits({ name }: Container, share: Share, gpuMemoryMb: number | undefined): number {
  if ("percent" in share) return unitsOf(share, 0);
  const field = `Container "${name}": limits["${ASKED.memory}"] is ${share.memoryMb} MB`;
  if (gpuMemoryMb === undefined)
    throw new Refusal("share", `${field}: the memory of the pool's GPUs is not known here, use ${ASKED.percent}`);
  if (share.memoryMb > gpuMemoryMb)
    throw new Refusal("share", `${field}: expected at most ${gpuMemoryMb} MB, the memory of one GPU`);
  return unitsOf(share, gpuMemoryMb);
}

/** A container's resources with units in place of what it asks for: Kubernetes wants limit and request of them alike. @throws {Refusal} */
export function withUnits({ name, resources }: Container, units: number): Resources {
  const { limits = {}, requests = {} } = resources ?? {};
  const own = limits[UNITS] ?? requests[UNITS];
  if (own !== undefined && String(own) !== String(units)) {
    throw new Refusal(
      "share",
      `Container "${name}": limits["${UNITS}"] is "${own}", but its share is ${units} units: leave it out`,
    );
  }
  return { ...resources, limits: replaceAsked(limits, units), requests: replaceAsked(requests, units) };
}

function replaceAsked(quantities: Quantities, units: number): Quantities {
  const result = { ...quantities };
  for (const key of ASKED_KEYS) delete result[key];
  result[UNITS] = String(units);
  return result;
}
