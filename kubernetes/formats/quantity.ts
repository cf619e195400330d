/** The suffixes of quantities as powers of ten and two (k8s.io/apimachinery/pkg/api/resource/suffix.go). */
const SUFFIXES: Readonly<Record<string, readonly [base: bigint, exponent: number]>> = {
  n: [10n, -9],
  u: [10n, -6],
  m: [10n, -3],
  "": [10n, 0],
  k: [10n, 3],
  M: [10n, 6],
  G: [10n, 9],
  T: [10n, 12],
  P: [10n, 15],
  E: [10n, 18],
  Ki: [2n, 10],
  Mi: [2n, 20],
  Gi: [2n, 30],
  Ti: [2n, 40],
  Pi: [2n, 50],
  Ei: [2n, 60],
};

const QUANTITY =
  /^(?<sign>[+-]?)(?<whole>\d*)(?:\.(?<fraction>\d*))?(?:[eE](?<exponent>[+-]?\d{1,2})|(?<suffix>[numkMGTPE]|[KMGTPE]i)?)$/;

const NANO = 9;

/**
 * A Kubernetes quantity as an exact number of billionths, the highest precision that Kubernetes keeps. Finer values are
 * rounded up.
 */
export type Nanos = bigint;

/** The quantity 1, in billionths. */
export const ONE: Nanos = 10n ** BigInt(NANO);

/**
 * Parses a quantity in any form that Kubernetes accepts: `1`, `"1"`, `1e2`, `0.5`, `500m`, `16Gi`.
 *
 * @throws {SyntaxError} if the value is not a quantity. The message quotes it and states what is expected.
 */
export function parseQuantity(value: string | number): Nanos {
  const groups = QUANTITY.exec(String(value))?.groups;
  const { sign = "", whole = "", fraction = "", exponent, suffix = "" } = groups ?? {};
  const [base, power] = exponent === undefined ? (SUFFIXES[suffix] ?? []) : [10n, Number(exponent)];
  if (!groups || whole + fraction === "" || base === undefined || power === undefined) {
    throw new SyntaxError(`Cannot parse quantity "${value}": expected a number, such as 1, 500m, 1e2 or 16Gi`);
  }
  let numerator = BigInt(whole + fraction) * ONE;
  let denominator = 10n ** BigInt(fraction.length);
  if (power < 0) denominator *= base ** BigInt(-power);
  else numerator *= base ** BigInt(power);
  const nanos = (numerator + denominator - 1n) / denominator;
  return sign === "-" ? -nanos : nanos;
}

/** Returns a quantity as a number. Returns undefined if it is not a whole number, or not a safe integer. */
export function toInteger(nanos: Nanos): number | undefined {
  const whole = Number(nanos / ONE);
  return nanos % ONE === 0n && Number.isSafeInteger(whole) ? whole : undefined;
}

/** Parses a quantity of bytes; a fraction of a byte is rounded up. Returns undefined for any other text, and for a negative quantity. */
export function bytesOf(value: string | number): number | undefined {
  try {
    const nanos = parseQuantity(value);
    return nanos < 0n ? undefined : Number((nanos + ONE - 1n) / ONE);
  } catch {
    return undefined;
  }
}

/** Formats bytes in mebibytes, rounded up: `110Mi`. */
export function formatMebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)}Mi`;
}

/** Parses a quantity as a whole number. Returns undefined for any other text, and if it is not a safe integer. */
export function parseInteger(value: string | number): number | undefined {
  try {
    return toInteger(parseQuantity(value));
  } catch {
    return undefined;
  }
}
