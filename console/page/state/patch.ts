import type { PagePatch, PageState, Section } from "./wire.ts";

/** Remembers the last state, and says what has changed since. */
export interface Patcher {
  /** The rows that differ from those of the state before. Undefined if none does. The first state differs from an empty one. */
  next(state: PageState): PagePatch | undefined;
}

export function createPatcher(): Patcher {
  /** The rows as JSON, by section and key: a row is equal if its JSON is. */
  const sent = new Map<string, Map<string, string>>();
  return {
    next(state) {
      const patch: Partial<Record<Section, Record<string, unknown>>> = {};
      for (const [section, rows] of Object.entries(state) as [Section, Record<string, unknown>][]) {
        const before = sent.get(section) ?? new Map<string, string>();
        sent.set(section, before);
        const changed: [string, unknown][] = [];
        for (const [key, row] of Object.entries(rows)) {
          const json = JSON.stringify(row);
          if (before.get(key) === json) continue;
          before.set(key, json);
          changed.push([key, row]);
        }
        for (const key of before.keys()) {
          if (Object.hasOwn(rows, key)) continue;
          before.delete(key);
          changed.push([key, null]);
        }
        // fromEntries() defines the keys, whatever they are: an assignment of __proto__ would not.
        if (changed.length > 0) patch[section] = Object.fromEntries(changed);
      }
      return Object.keys(patch).length > 0 ? (patch as PagePatch) : undefined;
    },
  };
}
