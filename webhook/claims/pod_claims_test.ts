import { expect, test } from "bun:test";
import { formatPodClaims, type PodClaim, parsePodClaims } from "../../pool/pod_claims.ts";
import type { Share } from "../../pool/share.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { checkCoverage, createClaimName, injectClaims, readPodClaims } from "./pod_claims.ts";

const half = { gpus: 1, percent: 50 };
const sidecar = { restartPolicy: "Always" };

const claim: PodClaim = { name: "c", containers: ["a"], share: half, units: 50, filters: [], client: "x" };
const podWith = (annotations: Record<string, string>): Pod => ({ metadata: { annotations }, spec: { containers: [] } });

type Given = readonly [name: string, share: Share, fields?: Partial<Container>];

/** Assigns claims with the names "1", "2" and so on. Each is described as its share and the containers that use it. */
function assigned(initContainers: readonly Given[], containers: readonly Given[]): string[] {
  const toContainer = ([name, , fields]: Given): Container => ({ name, ...fields });
  const lists = { initContainers: initContainers.map(toContainer), containers: containers.map(toContainer) };
  const pod: Pod = { metadata: {}, spec: lists };
  const claiming = [...initContainers, ...containers].map(([, share], index) => ({
    container: [...lists.initContainers, ...lists.containers][index] as Container,
    share,
    units: "percent" in share ? share.percent : 40,
  }));
  let last = 0;
  const options = { filters: [], client: "x", createName: () => String(++last) };
  const { annotation = "[]" } = injectClaims(pod, claiming, options) ?? {};
  const claims = parsePodClaims(annotation);
  return claims.map(
    ({ name, containers: users, share, units }) => `${name}: ${share.gpus} × ${units} for ${users.join(" ")}`,
  );
}

test.each<[string, Given[], Given[], string[]]>([
  [
    "one claim per app container",
    [],
    [
      ["a", half],
      ["b", half],
    ],
    ["1: 1 × 50 for a", "2: 1 × 50 for b"],
  ],
  ["one claim for an init and an app container", [["i", half]], [["a", half]], ["1: 1 × 50 for a i"]],
  [
    "the smallest claim that is enough for an init container",
    [["i", { gpus: 1, percent: 10 }]],
    [
      ["a", half],
      ["b", { gpus: 1, percent: 20 }],
      ["c", { gpus: 2, percent: 10 }],
    ],
    ["1: 1 × 50 for a", "2: 1 × 20 for b i", "3: 2 × 10 for c"],
  ],
  [
    "a claim of its own for a larger init container, which smaller ones use",
    [
      ["i", { gpus: 1, percent: 10 }],
      ["j", { gpus: 1, percent: 60 }],
    ],
    [],
    ["1: 1 × 60 for j i"],
  ],
  [
    "no claim by percent for memory",
    [["i", { gpus: 1, memoryMb: 10 }]],
    [["a", half]],
    ["1: 1 × 50 for a", "2: 1 × 40 for i"],
  ],
  [
    "one claim for all init containers",
    [
      ["i", half],
      ["j", half],
    ],
    [["a", half]],
    ["1: 1 × 50 for a i j"],
  ],
  [
    "one claim for init containers alone",
    [
      ["i", half],
      ["j", half],
    ],
    [],
    ["1: 1 × 50 for i j"],
  ],
  [
    "a claim of its own for another share",
    [["i", { gpus: 2, percent: 50 }]],
    [["a", half]],
    ["1: 1 × 50 for a", "2: 2 × 50 for i"],
  ],
  ["a claim of its own for a sidecar", [["s", half, sidecar]], [["a", half]], ["1: 1 × 50 for s", "2: 1 × 50 for a"]],
  [
    "no claim of a sidecar for an init container",
    [
      ["s", half, sidecar],
      ["i", half],
    ],
    [],
    ["1: 1 × 50 for s", "2: 1 × 50 for i"],
  ],
  ["units of memory shares", [], [["a", { gpus: 1, memoryMb: 8000 }]], ["1: 1 × 40 for a"]],
])("injectClaims() assigns %s", (_, initContainers, containers, expected) => {
  expect(assigned(initContainers, containers)).toEqual(expected);
});

test("injectClaims() says which claims need their GPUs of one server", () => {
  const claiming = [{ container: { name: "a" }, share: half, units: 50 }];
  const oneServer = (option: { oneServer?: boolean }) => {
    const options = { filters: [], client: "x", createName: () => "1", ...option };
    const { annotation = "" } = injectClaims(podWith({}), claiming, options) ?? {};
    return parsePodClaims(annotation).map((each) => each.oneServer);
  };
  expect([oneServer({}), oneServer({ oneServer: false }), oneServer({ oneServer: true })]).toEqual([
    [undefined],
    [undefined],
    [true],
  ]);
});

test("createClaimName() creates different names of objects", () => {
  const names = Array.from({ length: 100 }, createClaimName);
  expect(new Set(names).size).toBe(100);
  for (const name of names) expect(name).toMatch(/^bitfusion-[a-z0-9-]{36}$/);
});

test("injectClaims() refers to claims by different DNS labels", () => {
  const references = (...containers: string[]) => {
    const claiming = containers.map((name) => ({ container: { name }, share: half, units: 50 }));
    const options = { filters: [], client: "x", createName: createClaimName };
    return [...(injectClaims(podWith({}), claiming, options)?.references.values() ?? [])];
  };
  expect(references("main")).toEqual(["bitfusion-main"]);
  const long = references(`${"x".repeat(62)}a`, `${"x".repeat(62)}b`);
  expect(new Set(long).size).toBe(2);
  for (const name of long) expect(name).toMatch(/^[a-z0-9-]{1,63}$/);
});

test("injectClaims() gives an injected pod new names, and leaves its other resource claims alone", () => {
  const injected = (name: string) => ({ name, env: [{ name: "BITFUSION_CONTAINER", value: name }] });
  const claims = [
    { ...claim, name: "old-1", containers: ["a", "gone"], oneServer: true as const },
    { ...claim, name: "old-2", containers: ["gone"] },
  ];
  const pod: Pod = {
    metadata: { annotations: { "bitfusion.io/claims": formatPodClaims(claims) } },
    spec: {
      containers: [injected("a"), { name: "b" }],
      resourceClaims: [
        { name: "bitfusion-a", resourceClaimName: "old-1" },
        { name: "other", resourceClaimTemplateName: "t" },
      ],
    },
  };
  let last = 0;
  const createName = () => `new-${++last}`;
  const claiming = [{ container: { name: "b" }, share: half, units: 50 }];
  const result = injectClaims(pod, claiming, { filters: [], client: "x", createName });
  expect(result?.existing).toEqual([
    { name: "bitfusion-a", resourceClaimName: "new-1" },
    { name: "other", resourceClaimTemplateName: "t" },
  ]);
  expect(result?.added).toEqual([{ name: "bitfusion-b", resourceClaimName: expect.stringMatching(/^new-/) }]);
  expect(parsePodClaims(result?.annotation ?? "")).toMatchObject([
    { containers: ["a"], oneServer: true },
    { containers: ["b"] },
  ]);
});

test("injectClaims() ignores an annotation that a user wrote on a pod without a client", () => {
  const pod: Pod = { metadata: { annotations: { "bitfusion.io/claims": "{" } }, spec: { containers: [{ name: "a" }] } };
  expect(injectClaims(pod, [], { filters: [], client: "x", createName: createClaimName })).toBeUndefined();
});

test("readPodClaims() reads the annotation, and refuses one that the webhook did not write", () => {
  expect(readPodClaims(podWith({}))).toEqual([]);
  expect(readPodClaims(podWith({ "bitfusion.io/claims": formatPodClaims([claim]) }))).toEqual([claim]);
  expect(() => readPodClaims(podWith({ "bitfusion.io/claims": "{}" }))).toThrow(
    "Annotation bitfusion.io/claims: the document: expected Array; leave it out, the webhook sets it",
  );
});

test("checkCoverage() refuses claims that hold more units than the pod requests", () => {
  const limits = { "bitfusion.io/gpu": "100" };
  const pod: Pod = { metadata: {}, spec: { containers: [{ name: "a", resources: { limits } }] } };
  const larger = { ...claim, containers: ["i"], share: { gpus: 2, percent: 30 }, units: 30 };
  expect(() => checkCoverage(pod, [claim, claim])).not.toThrow();
  expect(() => checkCoverage(pod, [claim, larger])).toThrow(
    "The pod's claims hold 110 units of bitfusion.io/gpu for its whole life (50 for a, 60 for i), but it requests 100: give init containers at most the share of an app container",
  );
});
