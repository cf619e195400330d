import { InvalidArgumentError } from "commander";
import { EXPECTED_FILTER, type Filter, parseFilter } from "../pool/filter.ts";
import { isContainerName } from "../pool/names.ts";
import type { Share } from "../pool/share.ts";
import { MAX_TIMEOUT } from "../program/timers.ts";
import type { ContainerPort } from "./container/forward.ts";

/** Parses a whole number of at least 1, with at most 9 digits. @throws {InvalidArgumentError} for any other text. */
export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("Expected a whole number of at least 1.");
  return Number(text);
}

/** Converts a decimal fraction of a GPU to percent. @throws {InvalidArgumentError} for any other text. */
export function parseFraction(text: string): number {
  const percent = Math.round(Number(text) * 100);
  const exact = /^\d*\.?\d+$/.test(text) && Math.abs(Number(text) * 100 - percent) < 1e-9;
  if (!exact || percent < 1 || percent > 100) {
    throw new InvalidArgumentError("Expected a fraction from 0.01 to 1 in steps of 0.01.");
  }
  return percent;
}

/** Longest time to wait for the pool, in seconds. */
const MAX_SECONDS = Math.floor(MAX_TIMEOUT / 1000);

/** Parses a time in seconds, with decimals allowed. Returns ms. @throws {InvalidArgumentError} for any other text. */
export function parseTimeout(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds <= MAX_SECONDS) return seconds * 1000;
  throw new InvalidArgumentError(`Expected a number of seconds from 0 to ${MAX_SECONDS}.`);
}

/** Parses a TCP port; 0 stands for a free one. @throws {InvalidArgumentError} for any other text. */
export function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) {
    throw new InvalidArgumentError("Expected a whole number from 0 to 65535.");
  }
  return Number(text);
}

/** Appends a `container=port` to the previous ones. @throws {InvalidArgumentError} for any other text, and for what is there already. */
export function collectContainerPort(text: string, previous: readonly ContainerPort[] = []): ContainerPort[] {
  const { container = "", port: digits = "" } = /^(?<container>.*)=(?<port>.*)$/s.exec(text)?.groups ?? {};
  if (!isContainerName(container)) throw new InvalidArgumentError("Expected <container>=<port>, such as train=14833.");
  const port = parsePort(digits);
  for (const other of previous) {
    if (other.container === container) throw new InvalidArgumentError(`Expected one port for container ${container}.`);
    if (port !== 0 && other.port === port) throw new InvalidArgumentError(`Expected one container for port ${port}.`);
  }
  return [...previous, { container, port }];
}

/** Appends a `key=value` filter to the previous ones. @throws {InvalidArgumentError} for any other text. */
export function collectFilter(text: string, previous: readonly Filter[]): Filter[] {
  const filter = parseFilter(text);
  if (!filter) throw new InvalidArgumentError(`${EXPECTED_FILTER.replace("expected", "Expected")}.`);
  return [...previous, filter];
}

/** The share that the flags -n, -p and -m request. Without -p and -m, it is all of each GPU. */
export function shareOf({ n, p, m }: { n: number; p?: number; m?: number }): Share {
  return m === undefined ? { gpus: n, percent: p ?? 100 } : { gpus: n, memoryMb: m };
}
