/** Whether a value of JSON is something. */
export type Check = (value: unknown) => boolean;

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

export function isOptionalText(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

export function isOptional(value: unknown, check: Check): boolean {
  return value === undefined || check(value);
}

export function isListOf(value: unknown, check: Check): boolean {
  if (!Array.isArray(value)) return false;
  for (const element of value) if (!check(element)) return false;
  return true;
}

/** An object, all of whose values are something. */
export function isRecordOf(value: unknown, check: Check): boolean {
  if (!isObject(value)) return false;
  for (const key in value) if (!check(value[key])) return false;
  return true;
}
