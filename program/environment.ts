import * as v from "valibot";
import { ConfigError } from "./config_error.ts";

/** Variables by name, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the variables that `entries` names; an empty one counts as not set. Issue messages say what would be right
 * ("expected …").
 *
 * @throws {ConfigError} names the first variable that is wrong, its value and what would be right.
 */
export function readEnvironment<const Entries extends v.ObjectEntries>(
  entries: Entries,
  environment: Environment,
): v.InferOutput<v.ObjectSchema<Entries, undefined>> {
  const given = Object.fromEntries(Object.keys(entries).map((name) => [name, environment[name] || undefined]));
  const result = v.safeParse(v.object(entries), given);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const name = v.getDotPath(issue) ?? "the environment";
  const value = given[name];
  throw new ConfigError(
    value === undefined
      ? `Cannot start without ${name}: ${issue.message}`
      : `Cannot use ${name}="${value}": ${issue.message}`,
  );
}

/** A whole number in decimal digits. */
export function integer({ min, max }: { min: number; max: number }) {
  const expected = `expected a whole number from ${min} to ${max}`;
  return v.pipe(
    v.string(expected),
    v.regex(/^\d+$/, expected),
    v.transform(Number),
    v.minValue(min, expected),
    v.maxValue(max, expected),
  );
}

/** A time in seconds, decimals allowed; the output is in whole milliseconds. */
export function seconds({ min, max }: { min: number; max: number }) {
  const expected = `expected seconds from ${min} to ${max}`;
  return v.pipe(
    v.string(expected),
    v.regex(/^\d+(\.\d+)?$/, expected),
    v.transform(Number),
    v.minValue(min, expected),
    v.maxValue(max, expected),
    v.transform((value) => Math.round(value * 1000)),
  );
}

/** A TCP port; 0 stands for any free one. */
export function port() {
  return integer({ min: 0, max: 65535 });
}
