import { InvalidArgumentError } from "commander";
import { EXPECTED_FILTER, type Filter, parseFilter } from "../pool/filter.ts";
import type { Share } from "../pool/share.ts";

/** A whole number of at least 1. @throws {InvalidArgumentError} */
export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("Expected a whole number of at least 1.");
  return Number(text);
}

/** The percent that a decimal fraction of a GPU stands for. @throws {InvalidArgumentError} */
export function parseFraction(text: string): number {
  const percent = Math.round(Number(text) * 100);
  const exact = /^\d*\.?\d+$/.test(text) && Math.abs(Number(text) * 100 - percent) < 1e-9;
  if (!exact || percent < 1 || percent > 100) {
    throw new InvalidArgumentError("Expected a fraction from 0.01 to 1 in whole hundredths.");
  }
  return percent;
}

/** Appends a `key=value` to those before it. @throws {InvalidArgumentError} */
export function collectFilter(text: string, before: readonly Filter[]): Filter[] {
  const filter = parseFilter(text);
  if (!filter) throw new InvalidArgumentError(`${EXPECTED_FILTER.replace("expected", "Expected")}.`);
  return [...before, filter];
}

/** The share that -n with -p or -m stands for; all of each GPU if neither is given. */
export function shareOf({ n, p, m }: { n: number; p?: number; m?: number }): Share {
  return m === undefined ? { gpus: n, percent: p ?? 100 } : { gpus: n, memoryMb: m };
}
