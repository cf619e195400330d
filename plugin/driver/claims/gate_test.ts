import { expect, test } from "bun:test";
import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import { findUncovered, type GateOptions } from "./gate.ts";

interface ClaimOptions {
  /** Units per device. Undefined for a device whose units are not set. */
  units?: (number | string | undefined)[];
  driver?: string;
  pods?: string[];
  owner?: string;
  status?: ResourceClaim["status"];
}

function claim(
  name: string,
  { units = [50], driver = "bitfusion.io", pods = ["train"], owner }: ClaimOptions = {},
): ResourceClaim {
  const results = units.map((each) => ({
    driver,
    pool: "p",
    device: "d",
    request: "gpu",
    ...(each === undefined ? {} : { consumedCapacity: { units: String(each) } }),
  }));
  const ownerReferences = owner
    ? [{ apiVersion: "v1", kind: "Pod", name: owner, uid: `uid-${owner}`, controller: true }]
    : [];
  return {
    metadata: { namespace: "team", name, ownerReferences },
    spec: {},
    status: {
      allocation: { devices: { results } },
      reservedFor: pods.map((pod) => ({ resource: "pods", name: pod, uid: `uid-${pod}` })),
    },
  };
}

function pod(units: number | undefined, claims: string[], options: { name?: string; uid?: string } = {}): Pod {
  const { name = "train", uid = `uid-${name}` } = options;
  const limits = units === undefined ? {} : { "bitfusion.io/gpu": String(units) };
  return {
    metadata: { namespace: "team", name, uid },
    spec: {
      containers: [{ name: "train", image: "x", resources: { limits } }],
      resourceClaims: claims.map((each, index) => ({ name: `c${index}`, resourceClaimName: each })),
    },
  };
}

function check(claims: readonly ResourceClaim[], pods: readonly Pod[]): Promise<string | undefined> {
  const [prepared] = claims as [ResourceClaim];
  const options: GateOptions = {
    readClaim: async ({ name }) => claims.find(({ metadata }) => metadata.name === name),
    readPod: async ({ name }) => pods.find(({ metadata }) => metadata.name === name),
  };
  return findUncovered(prepared, options, new AbortController().signal);
}

test.each<[string, ResourceClaim[], Pod[]]>([
  ["its pod's units cover it", [claim("a")], [pod(50, ["a"])]],
  ["the units cover all claims of the pod", [claim("a", { units: [30, 30] }), claim("b")], [pod(110, ["a", "b"])]],
  ["another claim is of another driver", [claim("a"), claim("b", { driver: "x" })], [pod(50, ["a", "b"])]],
  ["two containers use one claim", [claim("a")], [pod(50, ["a", "a"])]],
  [
    "each of two pods covers it",
    [claim("a", { pods: ["x", "y"] })],
    [pod(50, ["a"], { name: "x" }), pod(60, ["a"], { name: "y" })],
  ],
  ["the pod that controls it uses it", [claim("a", { owner: "train" })], [pod(50, ["a"])]],
  ["another pod is gone", [claim("a", { pods: ["gone", "train"] })], [pod(50, ["a"])]],
  [
    "another pod was recreated",
    [claim("a", { pods: ["x", "train"] })],
    [pod(0, ["a"], { name: "x", uid: "new" }), pod(50, ["a"])],
  ],
])("findUncovered() accepts a claim if %s", async (_, claims, pods) => {
  expect(await check(claims, pods)).toBeUndefined();
});

const REQUESTS = "of the pool, but it requests";

test.each<[string, ResourceClaim[], Pod[], string]>([
  [
    "no units",
    [claim("a")],
    [pod(undefined, ["a"])],
    `the claims of pod train have 50 units ${REQUESTS} 0 units of bitfusion.io/gpu`,
  ],
  [
    "units that are too few",
    [claim("a")],
    [pod(49, ["a"])],
    `the claims of pod train have 50 units ${REQUESTS} 49 units of bitfusion.io/gpu`,
  ],
  [
    "units for one of two claims",
    [claim("a"), claim("b")],
    [pod(50, ["a", "b"])],
    `the claims of pod train have 100 units ${REQUESTS} 50 units of bitfusion.io/gpu`,
  ],
  [
    "units for a part of a whole GPU",
    [claim("a", { units: [undefined] })],
    [pod(50, ["a"])],
    `the claims of pod train have 100 units ${REQUESTS} 50 units of bitfusion.io/gpu`,
  ],
  [
    "units in one of two pods",
    [claim("a", { pods: ["x", "y"] })],
    [pod(50, ["a"], { name: "x" }), pod(1, ["a"], { name: "y" })],
    `the claims of pod y have 50 units ${REQUESTS} 1 units of bitfusion.io/gpu`,
  ],
  [
    "the claim of another pod",
    [claim("a", { owner: "other" })],
    [pod(50, ["a"])],
    "it belongs to pod other: pod train cannot use it",
  ],
  ["no pod", [claim("a", { pods: [] })], [], "status.reservedFor names no pod: expected the pods that use the claim"],
])("findUncovered() refuses a claim for %s", async (_, claims, pods, reason) => {
  expect(await check(claims, pods)).toBe(reason);
});

test("findUncovered() counts claims that were created from templates", async () => {
  const given = pod(50, ["a"]);
  const withTemplate: Pod = { ...given, status: { resourceClaimStatuses: [{ name: "t", resourceClaimName: "b" }] } };
  expect(await check([claim("a"), claim("b")], [withTemplate])).toStartWith("the claims of pod train have 100 units");
});
