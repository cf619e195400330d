/** Whether a JSON value has a certain shape. */
export type JsonPredicate = (value: unknown) => boolean;

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

export function isString(value: unknown): value is string {
  return typeof value === "string";
}

export function isOptionalString(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

export function isOptional(value: unknown, predicate: JsonPredicate): boolean {
  return value === undefined || predicate(value);
}

export function isArrayOf(value: unknown, predicate: JsonPredicate): boolean {
  if (!Array.isArray(value)) return false;
  for (const element of value) if (!predicate(element)) return false;
  return true;
}

export function isRecordOf(value: unknown, predicate: JsonPredicate): boolean {
  if (!isObject(value)) return false;
  for (const key in value) if (!predicate(value[key])) return false;
  return true;
}
