import { expect, test } from "bun:test";
import fc from "fast-check";
import { createPatcher } from "./patch.ts";
import type { PageState } from "./wire.ts";

const row = fc.record({ units: fc.nat(2), reasons: fc.array(fc.constantFrom("a", "b"), { maxLength: 2 }) });
const rows = fc
  .array(fc.tuple(fc.constantFrom("x", "y", "z", "__proto__", "constructor"), row), { maxLength: 4 })
  .map((entries) => Object.fromEntries(entries));
const states = fc.array(fc.record({ gpus: rows, waiting: rows }) as unknown as fc.Arbitrary<PageState>, {
  minLength: 1,
  maxLength: 5,
});

type Tables = Map<string, Map<string, unknown>>;

/** The tables of a reader after a patch. */
function applied(tables: Tables, patch: object = {}): Tables {
  const result: Tables = new Map([...tables].map(([section, known]) => [section, new Map(known)]));
  for (const [section, changed] of Object.entries(patch)) {
    const known = result.get(section) ?? new Map<string, unknown>();
    result.set(section, known);
    for (const [key, value] of Object.entries(changed)) {
      if (value === null) known.delete(key);
      else known.set(key, value);
    }
  }
  return result;
}

function tablesOf(state: PageState): Tables {
  return new Map(Object.entries(state).map(([section, all]) => [section, new Map(Object.entries(all))]));
}

test("a reader that applies all patches has the last state", () => {
  fc.assert(
    fc.property(states, (all) => {
      const patcher = createPatcher();
      let tables: Tables = new Map([
        ["gpus", new Map()],
        ["waiting", new Map()],
      ]);
      for (const state of all) {
        tables = applied(tables, JSON.parse(JSON.stringify(patcher.next(state) ?? {})));
        expect(tables).toEqual(tablesOf(state));
      }
    }),
    { numRuns: 100 },
  );
});

test("a patch has the rows that differ, and no other", () => {
  const patcher = createPatcher();
  const state = (gpus: object) => ({ gpus, waiting: { q: { since: "" } } }) as unknown as PageState;
  patcher.next(state({ a: { held: 1 }, b: { held: 2 }, c: { held: 3 } }));
  expect(patcher.next(state({ a: { held: 1 }, b: { held: 5 }, d: { held: 4 } }))).toEqual({
    gpus: { b: { held: 5 }, c: null, d: { held: 4 } },
  } as never);
  expect(patcher.next(state({ d: { held: 4 }, b: { held: 5 }, a: { held: 1 } }))).toBeUndefined();
});
