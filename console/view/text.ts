import { escapeControls, shorten } from "../../program/text/quote.ts";

/** Longest text of others in a view, in characters: as long as the message of an event can be. */
const MAX_TEXT = 1024;

/** A text that tenants, servers or other programs wrote, without control characters. */
export function foreignText(text = ""): string {
  return shorten(escapeControls(text), MAX_TEXT);
}

/** Compares two texts by code units: the order does not depend on a locale. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Compares by the texts that keys returns, the first of them first. */
export function byTexts<T>(...keys: readonly ((item: T) => string)[]): (a: T, b: T) => number {
  return (a, b) => {
    for (const key of keys) {
      const order = compareText(key(a), key(b));
      if (order !== 0) return order;
    }
    return 0;
  };
}
