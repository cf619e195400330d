import { ONE, parseQuantity, toInteger } from "../../kubernetes/objects/quantity.ts";
import type { Share } from "../../pool/share.ts";
import { SHARE_LIMITS } from "./keys.ts";
import type { Container } from "./pod.ts";
import { Refusal } from "./refusal.ts";

/** A limit with which a container requests a share. */
interface Request {
  /** Such as `limits["bitfusion.io/gpu-num"]`. */
  readonly field: string;
  readonly value: string | number;
}

/**
 * The share that a container requests. Undefined if it requests none.
 *
 * @throws {Refusal} names the container, the field, its value and what is expected.
 */
export function readShare(container: Container): Share | undefined {
  if (!container.resources) return undefined;
  const num = find(container, SHARE_LIMITS.num);
  const amount = find(container, SHARE_LIMITS.amount);
  const percent = find(container, SHARE_LIMITS.percent);
  const memory = find(container, SHARE_LIMITS.memory);
  if (!num && !amount && !percent && !memory) return undefined;
  const refuse = refuseIn(container);
  if (num && amount && parse(num.value) !== parse(amount.value)) {
    throw refuse(amount, `but ${num.field} is "${num.value}": both mean the number of GPUs, set one`);
  }
  const count = num ?? amount;
  if (!count) {
    throw new Refusal(
      "share",
      `Container "${container.name}": limits["${SHARE_LIMITS.num}"] is not set: expected the number of GPUs`,
    );
  }
  const gpus = toCount(count, { min: 1, max: 1_000_000 }, refuse);
  if (!memory) return { gpus, percent: percent ? toCount(percent, { min: 1, max: 100 }, refuse) : 100 };
  if (percent) throw refuse(memory, `but ${percent.field} is "${percent.value}": set one of the two`);
  return { gpus, memoryMb: toMegabytes(memory, refuse) };
}

type Refuse = (request: Request, expected: string) => Refusal;

function refuseIn(container: Container): Refuse {
  return ({ field, value }, expected) =>
    new Refusal(
      "share",
      `Container "${container.name}": ${field} is "${value}"${expected.startsWith("but") ? "," : ":"} ${expected}`,
    );
}

function find({ name, resources }: Container, key: string): Request | undefined {
  const limit = resources?.limits?.[key];
  const request = resources?.requests?.[key];
  if (limit !== undefined && request !== undefined && limit !== request && parse(limit) !== parse(request)) {
    throw new Refusal(
      "share",
      `Container "${name}": limits["${key}"] is "${limit}", but requests["${key}"] is "${request}": set both to the same value`,
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

function toCount(request: Request, { min, max }: { min: number; max: number }, refuse: Refuse): number {
  const nanos = parse(request.value);
  const count = nanos === undefined ? undefined : toInteger(nanos);
  if (count !== undefined && count >= min && count <= max) return count;
  throw refuse(
    request,
    max === 100 ? `expected a whole number from ${min} to ${max}` : `expected a whole number of at least ${min}`,
  );
}

/** A memory quantity in MB, rounded up: clients and pool servers use whole MB. */
function toMegabytes(request: Request, refuse: Refuse): number {
  const nanos = parse(request.value);
  if (nanos !== undefined && nanos > 0n) return Number((nanos + 1_000_000n * ONE - 1n) / (1_000_000n * ONE));
  throw refuse(request, "expected memory of each GPU, such as 8000M or 8Gi");
}
