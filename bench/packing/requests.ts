import type { Random } from "../common/random.ts";

/** A pod that asks for a share. */
export interface Request {
  /** When it is created, in hours. */
  readonly at: number;
  /** How long it runs, in hours. */
  readonly hours: number;
  /** Number of GPUs, all of one server. */
  readonly gpus: number;
  /** Units of each GPU. */
  readonly units: number;
}

/** The shares that pods ask for, and how many of 100 pods ask for each. */
const MIX: readonly (readonly [pods: number, gpus: number, units: number])[] = [
  [15, 1, 10],
  [20, 1, 25],
  [5, 1, 30],
  [25, 1, 50],
  [5, 1, 75],
  [20, 1, 100],
  [5, 2, 100],
  [3, 4, 100],
  [2, 8, 100],
];

/** Run times are log-normal: half of the pods run for less than an hour, and one in 40 for more than 19 hours. */
const MEDIAN_HOURS = 1;
const SIGMA = 1.5;
const MEAN_HOURS = MEDIAN_HOURS * Math.exp(SIGMA ** 2 / 2);

const SHARES = MIX.flatMap(([pods, gpus, units]) => Array.from({ length: pods }, () => ({ gpus, units })));
const MEAN_UNITS = SHARES.reduce((sum, { gpus, units }) => sum + gpus * units, 0) / SHARES.length;

/**
 * Creates pods at random times.
 *
 * @param load units that they would hold on average if none had to wait
 */
export function createRequests(random: Random, { count, load }: { count: number; load: number }): Request[] {
  const perHour = load / (MEAN_UNITS * MEAN_HOURS);
  let at = 0;
  return Array.from({ length: count }, () => {
    at += -Math.log(uniform(random)) / perHour;
    return { at, hours: MEDIAN_HOURS * Math.exp(SIGMA * normal(random)), ...random.pick(SHARES) };
  });
}

/** More than 0 and at most 1. */
function uniform(random: Random): number {
  return (random.below(2 ** 31) + 1) / 2 ** 31;
}

/** By the Box-Muller transform. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(uniform(random))) * Math.cos(2 * Math.PI * uniform(random));
}
