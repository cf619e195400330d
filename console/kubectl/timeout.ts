import { InvalidArgumentError } from "commander";
import { parseDuration } from "../../program/text/duration.ts";

/**
 * Parses a duration such as 90s, 10m, 1h30m or 0 to ms, as kubectl's --timeout has it.
 *
 * @throws {InvalidArgumentError} says what is expected.
 */
export function parseTimeout(text: string): number {
  if (text === "0") return 0;
  if (!/^(\d{1,6}(ms|[smh]))+$/.test(text))
    throw new InvalidArgumentError("Expected a duration such as 90s, 10m or 1h30m.");
  return parseDuration(text);
}
