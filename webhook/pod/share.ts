import { ONE, parseQuantity, toInteger } from "../../kubernetes/objects/quantity.ts";
import type { Share } from "../../pool/share.ts";
import { ASKED } from "./keys.ts";
import type { Container } from "./pod.ts";
import { Refusal } from "./refusal.ts";

/** A value that a container asks for, and the field it stands in. */
interface Asked {
  readonly field: string;
  readonly value: string | number;
}

/**
 * The share that a container asks for, or undefined if it asks for none.
 *
 * @throws {Refusal} names the container, the field, its value and what would be right.
 */
export function readShare(container: Container): Share | undefined {
  if (!container.resources) return undefined;
  const num = find(container, ASKED.num);
  const amount = find(container, ASKED.amount);
  const percent = find(container, ASKED.percent);
  const memory = find(container, ASKED.memory);
  if (!num && !amount && !percent && !memory) return undefined;
  const refuse = refusal(container);
  if (num && amount && parse(num.value) !== parse(amount.value)) {
    throw refuse(amount, `but ${num.field} is "${num.value}": both mean the number of GPUs, set one`);
  }
  const count = num ?? amount;
  if (!count)
    throw new Refusal(
      "share",
      `Container "${container.name}": limits["${ASKED.num}"] is not set: expected the number of GPUs`,
    );
  const gpus = whole(count, { min: 1, max: 1_000_000 }, refuse);
  if (!memory) return { gpus, percent: percent ? whole(percent, { min: 1, max: 100 }, refuse) : 100 };
  if (percent) throw refuse(memory, `but ${percent.field} is "${percent.value}": set one of the two`);
  return { gpus, memoryMb: megabytes(memory, refuse) };
}

type Refuse = (asked: Asked, expected: string) => Refusal;

function refusal(container: Container): Refuse {
  return ({ field, value }, expected) =>
    new Refusal(
      "share",
      `Container "${container.name}": ${field} is "${value}"${expected.startsWith("but") ? "," : ":"} ${expected}`,
    );
}

function find({ name, resources }: Container, key: string): Asked | undefined {
  const limit = resources?.limits?.[key];
  const request = resources?.requests?.[key];
  if (limit !== undefined && request !== undefined && limit !== request && parse(limit) !== parse(request)) {
    throw new Refusal(
      "share",
      `Container "${name}": limits["${key}"] is "${limit}", but requests["${key}"] is "${request}": set them alike`,
    );
  }
  if (limit !== undefined) return { field: `limits["${key}"]`, value: limit };
  return request === undefined ? undefined : { field: `requests["${key}"]`, value: request };
}

function parse(value: string | number): bigint | undefined {
  try {
    return parseQuantity(value);
  } catch {
    return undefined; // whoever needs the value says so
  }
}

function whole(asked: Asked, { min, max }: { min: number; max: number }, refuse: Refuse): number {
  const value = integer(asked.value);
  if (value !== undefined && value >= min && value <= max) return value;
  throw refuse(
    asked,
    max === 100 ? `expected a whole number from ${min} to ${max}` : `expected a whole number of at least ${min}`,
  );
}

/** Most are plain digits, which need no exact arithmetic. */
function integer(value: string | number): number | undefined {
  if (typeof value === "string" && /^\d{1,9}$/.test(value)) return Number(value);
  const nanos = parse(value);
  return nanos === undefined ? undefined : toInteger(nanos);
}

/** A memory quantity in MB, rounded up: the unit that clients and pools use. */
function megabytes(asked: Asked, refuse: Refuse): number {
  const nanos = parse(asked.value);
  if (nanos !== undefined && nanos > 0n) return Number((nanos + 1_000_000n * ONE - 1n) / (1_000_000n * ONE));
  throw refuse(asked, "expected memory of each GPU, such as 8000M or 8Gi");
}
