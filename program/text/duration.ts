/** ms in a unit of a duration. */
const UNITS: Readonly<Record<string, number>> = { h: 3600_000, m: 60_000, s: 1000, ms: 1 };

/** Parses a duration such as 1m30s as Go's time.ParseDuration does, down to ms. Returns NaN for any other text. */
export function parseDuration(text: string): number {
  if (!/^(\d+(\.\d+)?(h|ms|m|s))+$/.test(text)) return Number.NaN;
  let sum = 0;
  for (const [, number, unit = ""] of text.matchAll(/([\d.]+)(h|ms|m|s)/g)) sum += Number(number) * (UNITS[unit] ?? 0);
  return Math.round(sum);
}
