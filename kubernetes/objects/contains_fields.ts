/**
 * Whether an object that the API server stores has all fields of `expected`. It may have more: the API server fills in
 * defaults. Lists must have the same length.
 */
export function containsFields(stored: unknown, expected: unknown): boolean {
  if (typeof expected !== "object" || expected === null) return stored === expected;
  if (typeof stored !== "object" || stored === null) return false;
  if (Array.isArray(expected) && (!Array.isArray(stored) || stored.length !== expected.length)) return false;
  return Object.entries(expected).every(([key, value]) => containsFields((stored as never)[key], value));
}
