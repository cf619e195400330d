import * as v from "valibot";
import { parse } from "yaml";
import { ConfigError } from "../config_error.ts";
import { describeIssue } from "../text/describe_issue.ts";

/**
 * Parses a configuration file in YAML.
 *
 * @param path for error messages
 * @throws {ConfigError} names the file, the field, its value and what is expected.
 */
export function parseFile<Schema extends v.GenericSchema>(
  schema: Schema,
  text: string,
  path: string,
): v.InferOutput<Schema> {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new ConfigError(`Cannot read ${path}: ${(error as Error).message.split("\n")[0]}`);
  }
  const { success, output, issues } = v.safeParse(schema, document);
  if (!success) throw new ConfigError(`Cannot use ${path}: ${describeIssue(issues[0])}`);
  return output;
}
