import * as v from "valibot";
import { parseDuration } from "../text/duration.ts";

/** A field of a configuration file that is a whole number. */
export function wholeNumber({ min, max, of = "" }: { min: number; max: number; of?: string }) {
  const expected = `expected a whole number ${of && `of ${of} `}from ${min} to ${max}`;
  return v.pipe(v.number(expected), v.integer(expected), v.minValue(min, expected), v.maxValue(max, expected));
}

/**
 * A field of a configuration file that is a duration, as in the configuration files of Kubernetes: `5m`, `1m30s` or `1.5s`. The output is
 * in whole ms.
 *
 * @param range both inclusive, as durations
 */
export function duration({ min, max }: { min: string; max: string }) {
  const expected = `expected a duration from ${min} to ${max}, such as 5m or 1m30s`;
  const [from, to] = [parseDuration(min), parseDuration(max)];
  const isInRange = (text: string) => parseDuration(text) >= from && parseDuration(text) <= to;
  return v.pipe(v.string(expected), v.check(isInRange, expected), v.transform(parseDuration));
}
