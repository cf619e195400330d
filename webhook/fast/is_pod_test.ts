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
  ports: [{ containerPort: 8080 }],
  volumeDevices: [{ name: "d", devicePath: "/d" }],
};

/** A pod with all fields of the schema. */
const full = {
  metadata: { name: "p", generateName: "p-", annotations: { a: "b" } },
  spec: {
    containers: [container],
    initContainers: [container],
    ephemeralContainers: [{ name: "debugger" }],
    volumes: [{ name: "v" }],
    resourceClaims: [{ name: "c", resourceClaimName: "t" }],
    resources,
    os: { name: "linux" },
    nodeName: "n",
    schedulerName: "s",
    hostNetwork: true,
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name" }] }],
        },
      },
    },
  },
};

/** The path of each value in a document, as a list of keys. */
function* pathsIn(document: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  yield path;
  if (typeof document !== "object" || document === null) return;
  for (const [key, value] of Object.entries(document)) yield* pathsIn(value, [...path, key]);
}

/** A copy of the document with another value at one path. */
function changed(document: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  const copy = structuredClone(document) as Record<string, unknown>;
  if (value === undefined && rest.length === 0) delete copy[key];
  else copy[key] = changed(copy[key], rest, value);
  return copy;
}

/** The path of each field in a schema. Lists are represented by their first element. */
function* fieldsOf(schema: object, path: readonly string[] = []): Generator<string> {
  if (path.length > 0) yield path.join(".");
  if ("wrapped" in schema) yield* fieldsOf(schema.wrapped as object, path);
  if ("item" in schema) yield* fieldsOf(schema.item as object, [...path, "0"]);
  if (!("entries" in schema)) return;
  for (const [key, field] of Object.entries(schema.entries as object)) yield* fieldsOf(field, [...path, key]);
}

test("the pod of these tests has all fields of the schema", () => {
  const paths = new Set([...pathsIn(full)].map((path) => path.join(".")));
  expect([...fieldsOf(Pod)].filter((field) => !paths.has(field))).toEqual([]);
});

test("isPod() accepts a pod with all fields of the schema", () => {
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
])("isPod() agrees with the schema, with %s at each path of a pod", (_, value) => {
  for (const path of pathsIn(full)) {
    const document = changed(full, path, value);
    expect([path.join("."), isPod(document)]).toEqual([path.join("."), v.is(Pod, document)]);
  }
});

test("isPod() agrees with the schema, with any value at any path of any pod", () => {
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.constant(undefined));
  fc.assert(
    fc.property(annotatedPods, fc.nat(), anything, (given, index, value) => {
      const paths = [...pathsIn(given)];
      const document = changed(given, paths[index % paths.length] ?? [], value);
      expect(isPod(document)).toBe(v.is(Pod, document));
    }),
    { numRuns: 1000 },
  );
});
