import { expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { Pod } from "../pod/pod.ts";
import { annotatedPods } from "../testing.ts";
import { isPod } from "./is_pod.ts";

const resources = { limits: { cpu: "1" }, requests: { cpu: 1 }, claims: [{ name: "c" }] };

const container = {
  name: "a",
  restartPolicy: "Always",
  command: ["python3", "train.py"],
  args: ["--epochs=90"],
  env: [{ name: "A", value: "1" }],
  resources,
  volumeMounts: [{ name: "v", mountPath: "/v" }],
};

/** Has each of the fields that the schema knows. */
const full = {
  metadata: { name: "p", generateName: "p-", annotations: { a: "b" } },
  spec: {
    containers: [container],
    initContainers: [container],
    volumes: [{ name: "v" }],
    resourceClaims: [{ name: "c", resourceClaimTemplateName: "t" }],
    resources,
    os: { name: "linux" },
  },
};

/** Each place in a document: the keys that lead there. */
function* placesIn(document: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  yield path;
  if (typeof document !== "object" || document === null) return;
  for (const [key, value] of Object.entries(document)) yield* placesIn(value, [...path, key]);
}

/** The document with something else at one place. */
function changed(document: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  const copy = structuredClone(document) as Record<string, unknown>;
  if (value === undefined && rest.length === 0) delete copy[key];
  else copy[key] = changed(copy[key], rest, value);
  return copy;
}

/** Each field that a schema knows, by the keys that lead there: those of lists by their first element. */
function* fieldsOf(schema: object, path: readonly string[] = []): Generator<string> {
  if (path.length > 0) yield path.join(".");
  if ("wrapped" in schema) yield* fieldsOf(schema.wrapped as object, path);
  if ("item" in schema) yield* fieldsOf(schema.item as object, [...path, "0"]);
  if (!("entries" in schema)) return;
  for (const [key, field] of Object.entries(schema.entries as object)) yield* fieldsOf(field, [...path, key]);
}

test("the pod of these tests has each field that the schema knows", () => {
  const places = new Set([...placesIn(full)].map((place) => place.join(".")));
  expect([...fieldsOf(Pod)].filter((field) => !places.has(field))).toEqual([]);
});

test("isPod() takes a pod with each field that the schema knows", () => {
  expect(isPod(full)).toBe(true);
});

test.each<[description: string, value: unknown]>([
  ["nothing", undefined],
  ["null", null],
  ["a number", 1],
  ["text", "x"],
  ["a list", ["x"]],
  ["an object", { name: "x" }],
  ["an empty object", {}],
])("isPod() says what the schema says, with %s at each place of a pod", (_, value) => {
  for (const place of placesIn(full)) {
    const document = changed(full, place, value);
    expect([place.join("."), isPod(document)]).toEqual([place.join("."), v.is(Pod, document)]);
  }
});

test("isPod() says what the schema says, with anything anywhere in any pod", () => {
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.constant(undefined));
  fc.assert(
    fc.property(annotatedPods, fc.nat(), anything, (given, index, value) => {
      const places = [...placesIn(given)];
      const document = changed(given, places[index % places.length] ?? [], value);
      expect(isPod(document)).toBe(v.is(Pod, document));
    }),
    { numRuns: 1000 },
  );
});
