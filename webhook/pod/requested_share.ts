import { ONE, parseInteger, parseQuantity } from "../../kubernetes/formats/quantity.ts";
import { MAX_AMOUNT, type Share } from "../../pool/share.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { quote } from "../../program/text/quote.ts";
import { CONTAINER_VARIABLE, SHARE_LIMITS, UNITS } from "./keys.ts";
import type { Container } from "./pod.ts";
import { Refusal } from "./refusal.ts";

/** A quantity of a resource that a container requests. */
interface Request {
  /** Such as `limits["bitfusion.io/gpu-num"]`. */
  readonly field: string;
  readonly value: string | number;
}

/** The largest number of GPUs that a container may request. */
export const MAX_GPUS = 1_000_000;

/**
 * The share that a container requests, by the number of GPUs and a percentage, memory or units. Undefined if it requests none, and if its
 * units are those of a share that the webhook has injected already: this makes injection idempotent.
 *
 * Units beside percent or memory are left to withUnits(), which counts them.
 *
 * @throws {Refusal} names the container, the field, its value and what is expected.
 */
export function readShare(container: Container): Share | undefined {
  if (!container.resources) return undefined;
  const num = find(container, SHARE_LIMITS.num);
  const amount = find(container, SHARE_LIMITS.amount);
  const percent = find(container, SHARE_LIMITS.percent);
  const memory = find(container, SHARE_LIMITS.memory);
  const units = find(container, UNITS);
  if (!num && !amount && !percent && !memory && (!units || isInjected(container))) return undefined;
  const refuse = refuseIn(container);
  if (num && amount && parse(num.value) !== parse(amount.value)) {
    throw refuse(amount, `but ${num.field} is ${quote(num.value)}: both mean the number of GPUs, set one`);
  }
  if (percent && memory) throw refuse(memory, `but ${percent.field} is ${quote(percent.value)}: set one of the two`);
  const count = num ?? amount;
  if (!count && !units) {
    throw new Refusal(
      "share",
      `Container ${quote(container.name)}: limits["${SHARE_LIMITS.num}"] is not set: expected the number of GPUs`,
    );
  }
  const gpus = count ? toCount(count, MAX_GPUS, refuse) : 1;
  if (memory) return { gpus, memoryMb: toMegabytes(memory, refuse) };
  if (percent) return { gpus, percent: toCount(percent, UNITS_PER_GPU, refuse) };
  if (!units) return { gpus, percent: UNITS_PER_GPU };
  return count ? { gpus, percent: toPercent(units, { gpus, count, refuse }) } : toShare(units, refuse);
}

/** Whether the webhook has attached the client to a container: its variables tell the client which container it runs in. */
export function isInjected({ name, env = [] }: Container): boolean {
  return env.some((variable) => variable.name === CONTAINER_VARIABLE && variable.value === name);
}

type Refuse = (request: Request, expected: string) => Refusal;

/** Creates refusals of a container that name the container, the field and its value. */
export function refuseIn(container: Container): Refuse {
  return ({ field, value }, expected) =>
    new Refusal(
      "share",
      `Container ${quote(container.name)}: ${field} is ${quote(value)}${expected.startsWith("but") ? "," : ":"} ${expected}`,
    );
}

/**
 * The quantity of a resource in a container's limits, or else in its requests.
 *
 * @throws {Refusal} if limits and requests differ.
 */
export function find({ name, resources }: Container, key: string): Request | undefined {
  const limit = resources?.limits?.[key];
  const request = resources?.requests?.[key];
  if (limit !== undefined && request !== undefined && limit !== request && parse(limit) !== parse(request)) {
    throw new Refusal(
      "share",
      `Container ${quote(name)}: limits["${key}"] is ${quote(limit)}, but requests["${key}"] is ${quote(request)}: set both to the same value`,
    );
  }
  if (limit !== undefined) return { field: `limits["${key}"]`, value: limit };
  return request === undefined ? undefined : { field: `requests["${key}"]`, value: request };
}

function parse(value: string | number): bigint | undefined {
  try {
    return parseQuantity(value);
  } catch {
    return undefined; // the caller that needs the value refuses it
  }
}

/**
 * The whole number that a quantity is.
 *
 * @throws {Refusal} if it is none from 1 to `max`.
 */
export function toCount(request: Request, max: number, refuse: Refuse): number {
  const count = parseInteger(request.value);
  if (count !== undefined && count >= 1 && count <= max) return count;
  throw refuse(request, `expected a whole number from 1 to ${max}`);
}

/** The percentage of each GPU that units of a given number of GPUs amount to. */
function toPercent(units: Request, { gpus, count, refuse }: { gpus: number; count: Request; refuse: Refuse }): number {
  const percent = (parseInteger(units.value) ?? 0) / gpus;
  if (Number.isInteger(percent) && percent >= 1 && percent <= UNITS_PER_GPU) return percent;
  const expected = gpus === 1 ? "a whole number" : `a multiple of ${gpus}`;
  throw refuse(
    units,
    `but ${count.field} is ${quote(count.value)}: expected ${expected} from ${gpus} to ${gpus * UNITS_PER_GPU}`,
  );
}

/** The share that units without a number of GPUs are: a part of one GPU, or whole GPUs. */
function toShare(units: Request, refuse: Refuse): Share {
  const amount = parseInteger(units.value) ?? 0;
  if (amount >= 1 && amount <= UNITS_PER_GPU) return { gpus: 1, percent: amount };
  const gpus = amount / UNITS_PER_GPU;
  if (Number.isInteger(gpus) && gpus >= 1 && gpus <= MAX_GPUS) return { gpus, percent: UNITS_PER_GPU };
  throw refuse(
    units,
    `expected 1 to ${UNITS_PER_GPU}, the units of one GPU, or a multiple of ${UNITS_PER_GPU}, those of whole GPUs; for parts of several GPUs, set ${SHARE_LIMITS.num} too`,
  );
}

/** A memory quantity in MB, rounded up: clients and pool servers use whole MB. */
function toMegabytes(request: Request, refuse: Refuse): number {
  const nanos = parse(request.value) ?? 0n;
  const megabytes = Number((nanos + 1_000_000n * ONE - 1n) / (1_000_000n * ONE));
  if (nanos > 0n && megabytes <= MAX_AMOUNT) return megabytes;
  throw refuse(request, "expected memory of each GPU, such as 8000M or 8Gi");
}
