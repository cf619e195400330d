/** The API server's default of a webhook's timeoutSeconds (admissionregistration.k8s.io/v1), in ms. */
const DEFAULT = 10_000;

/** The largest timeoutSeconds that the API server allows, in ms. */
const MAX = 30_000;

/** The part of the time that is kept for the way of the response. */
const RESERVE = 0.1;

/** Units of Go's time.Duration, in ms. */
const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

const DURATION = /^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/;

/**
 * How long a review may take, in ms: a tenth less than the API server waits, so that the user learns from the response
 * what took so long. Undefined if the value is not a duration.
 *
 * @param timeout the query parameter that the API server adds to the webhook's URL, as Go prints it: 5s, 1m30s, 1.5s
 */
export function timeLimitOf(timeout: string | undefined): number | undefined {
  const time = timeout === undefined ? DEFAULT : parseDuration(timeout);
  return time && Math.min(time, MAX) * (1 - RESERVE);
}

function parseDuration(text: string): number | undefined {
  if (text.length > 32 || !DURATION.test(text)) return undefined;
  const parts = text.matchAll(/([\d.]+)([a-z]+)/g);
  return parts.reduce((sum, [, amount, unit = ""]) => sum + Number(amount) * (UNITS[unit] ?? 0), 0);
}
