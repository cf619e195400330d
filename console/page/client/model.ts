import type { PagePatch, PageState, Section } from "../state/wire.ts";

/** The rows that the page knows, and which of them have changed since it was drawn. */
export interface Model {
  readonly rows: { readonly [S in Section]: ReadonlyMap<string, PageState[S][string]> };
  /** Takes over what the program has sent. `isWhole`: rows that it has not sent are gone. */
  apply(patch: PagePatch, isWhole: boolean): void;
  /** The keys of rows that have changed since the last call, by section. */
  takeChanges(): ReadonlyMap<Section, ReadonlySet<string>>;
}

const SECTIONS: readonly Section[] = ["totals", "servers", "gpus", "waiting", "refusals", "notes", "history"];

export function createModel(): Model {
  const rows = Object.fromEntries(SECTIONS.map((section) => [section, new Map<string, unknown>()])) as Record<
    Section,
    Map<string, unknown>
  >;
  let changes = new Map<Section, Set<string>>();

  function mark(section: Section, key: string): void {
    const keys = changes.get(section) ?? new Set();
    changes.set(section, keys.add(key));
  }

  return {
    rows: rows as never,
    apply(patch, isWhole) {
      for (const section of SECTIONS) {
        const known = rows[section];
        const sent = new Map<string, unknown>(Object.entries(patch[section] ?? {}));
        if (isWhole) for (const key of known.keys()) if (!sent.has(key)) sent.set(key, null);
        for (const [key, row] of sent) {
          if (row === null) known.delete(key);
          else known.set(key, row);
          mark(section, key);
        }
      }
    },
    takeChanges() {
      const taken = changes;
      changes = new Map();
      return taken;
    },
  };
}
