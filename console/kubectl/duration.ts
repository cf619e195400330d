import { InvalidArgumentError } from "commander";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Parses a duration such as 90s, 10m, 1h30m or 0 to ms, as kubectl's --timeout has it.
 *
 * @throws {InvalidArgumentError} says what is expected.
 */
export function parseDuration(text: string): number {
  if (text === "0") return 0;
  if (!/^(\d{1,6}(ms|[smh]))+$/.test(text))
    throw new InvalidArgumentError("Expected a duration such as 90s, 10m or 1h30m.");
  let total = 0;
  for (const [, amount, unit = ""] of text.matchAll(/(\d+)(ms|[smh])/g)) total += Number(amount) * (UNITS[unit] ?? 0);
  return total;
}
