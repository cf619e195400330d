/** A time in ms since the epoch as a Time of the API (apimachinery/pkg/apis/meta/v1): RFC 3339, in whole seconds. */
export function formatTime(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
}
