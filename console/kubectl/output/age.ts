/** A duration in ms as kubectl shows ages: `42s`, `5m`, `3h`, `12d`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/**
 * How long ago a time was. `<unknown>` for a text that is no time.
 *
 * @param time RFC 3339
 * @param now in ms since the epoch
 */
export function formatAge(time: string, now: number): string {
  const start = Date.parse(time);
  return Number.isNaN(start) ? "<unknown>" : formatDuration(now - start);
}
