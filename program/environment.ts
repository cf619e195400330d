import * as v from "valibot";
import { ConfigError } from "./config_error.ts";

/** Variables by name, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads and validates the variables that `entries` names. An empty variable counts as not set. The messages of the
 * schemas must state what is expected ("expected …").
 *
 * @throws {ConfigError} names the first invalid variable, its value and what is expected.
 */
export function readEnvironment<const Entries extends v.ObjectEntries>(
  entries: Entries,
  environment: Environment,
): v.InferOutput<v.ObjectSchema<Entries, undefined>> {
  const variables = Object.fromEntries(Object.keys(entries).map((name) => [name, environment[name] || undefined]));
  const result = v.safeParse(v.object(entries), variables);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const name = v.getDotPath(issue) ?? "the environment";
  const value = variables[name];
  throw new ConfigError(
    value === undefined
      ? `Cannot start without ${name}: ${issue.message}`
      : `Cannot use ${name}="${value}": ${issue.message}`,
  );
}

/** A setting with its description, in Markdown, for docs/settings.md. */
export function setting<const Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.pipe(schema, v.description(description));
}

/** A setting that is a whole number in decimal digits. */
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

/** A setting that is a time in seconds, with decimals allowed. The output is in whole ms. */
export function seconds(range: { min: number; max: number }) {
  return v.pipe(
    decimal("seconds", range),
    v.transform((value) => Math.round(value * 1000)),
  );
}

/** A setting that is a time in ms, with decimals allowed. */
export function milliseconds(range: { min: number; max: number }) {
  return decimal("milliseconds", range);
}

function decimal(unit: string, { min, max }: { min: number; max: number }) {
  const expected = `expected ${unit} from ${min} to ${max}`;
  return v.pipe(
    v.string(expected),
    v.regex(/^\d+(\.\d+)?$/, expected),
    v.transform(Number),
    v.minValue(min, expected),
    v.maxValue(max, expected),
  );
}

/** A setting that is a TCP port. 0 selects a free port. */
export function port() {
  return integer({ min: 0, max: 65535 });
}
