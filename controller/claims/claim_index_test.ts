import { expect, test } from "bun:test";
import fc from "fast-check";
import { keyOf } from "../../kubernetes/watch.ts";
import { claim } from "../../pool/claims/testing.ts";
import { deviceName } from "../../pool/device_name.ts";
import { type ClaimSummary, createClaimIndex, summarizeClaim } from "./claim_index.ts";

const [A, B, C] = ["a", "b", "c"].map((id) => `bitfusion-0/${deviceName(id)}`) as [string, string, string];

/** The change that a watch yields for a created or updated claim. */
function put(name: string, options: Parameters<typeof claim>[1]) {
  const object = summarizeClaim(claim(name, options)) as ClaimSummary;
  return { type: "put", key: `team/${name}`, object } as const;
}

test("createClaimIndex() adds up the units that claims hold of each device", () => {
  const index = createClaimIndex();
  index.apply(put("x", { allocated: { [A]: 30, [C]: 1 } }));
  index.apply(put("y", { allocated: { [A]: 40 } }));
  expect(index.held).toEqual(
    new Map([
      [A, 70],
      [C, 1],
    ]),
  );
});

test("createClaimIndex() returns the devices that no claim holds any more", () => {
  const index = createClaimIndex();
  expect(index.apply(put("x", { allocated: { [A]: 30, [B]: 10 } }))).toEqual([]);
  index.apply(put("y", { allocated: { [A]: 40 } }));
  expect(index.apply({ type: "delete", key: "team/x" })).toEqual([B]);
  expect(index.apply(put("y", { allocated: { [A]: 41 } }))).toEqual([]);
  expect(index.apply({ type: "replace", objects: new Map() })).toEqual([A]);
});

test("createClaimIndex() is synced after a complete list of claims", () => {
  const index = createClaimIndex();
  expect(index.isSynced).toBe(false);
  index.apply({ type: "replace", objects: new Map() });
  expect(index.isSynced).toBe(true);
});

test("createClaimIndex() lists waiting claims until they are allocated or deleted", () => {
  const index = createClaimIndex();
  index.apply(put("x", {}));
  index.apply(put("y", {}));
  index.apply(put("x", { allocated: { [A]: 50 } }));
  expect([...index.waiting.keys()]).toEqual(["team/y"]);
  index.apply({ type: "delete", key: "team/y" });
  expect(index.waiting.size).toBe(0);
});

test("createClaimIndex() matches a sum over all claims after any changes", () => {
  const change = fc.record({
    name: fc.constantFrom("x", "y", "z"),
    kind: fc.constantFrom("allocated", "waiting", "deleted", "relisted"),
    allocated: fc.dictionary(fc.constantFrom(A, B, C), fc.integer({ min: 1, max: 100 }), { noNullPrototype: true }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const index = createClaimIndex();
      const claims = new Map<string, ReturnType<typeof claim>>();
      for (const { name, kind, allocated } of changes) {
        const key = `team/${name}`;
        if (kind === "deleted") claims.delete(key);
        else if (kind !== "relisted") claims.set(key, claim(name, kind === "allocated" ? { allocated } : {}));
        const object = claims.get(key) && summarizeClaim(claims.get(key) as ReturnType<typeof claim>);
        if (kind === "relisted") {
          const list = [...claims.values()].flatMap((each) => {
            const summary = summarizeClaim(each);
            return summary ? [[keyOf(each), summary] as const] : [];
          });
          index.apply({ type: "replace", objects: new Map(list) });
        } else index.apply(object ? { type: "put", key, object } : { type: "delete", key });
        const held = new Map<string, number>();
        for (const { status } of claims.values()) {
          for (const { pool, device, consumedCapacity } of status?.allocation?.devices?.results ?? []) {
            const heldKey = `${pool}/${device}`;
            held.set(heldKey, (held.get(heldKey) ?? 0) + Number(consumedCapacity?.units));
          }
        }
        expect(index.held).toEqual(held);
        const waiting = [...claims].flatMap(([each, { status }]) => (status ? [] : [each]));
        expect([...index.waiting.keys()].sort()).toEqual(waiting.sort());
      }
    }),
  );
});

test("summarizeClaim() returns the request of a waiting claim, and its pod", () => {
  const annotations = { "bitfusion.io/share": "2x8000mb", "bitfusion-client/filter": "device.name=T4\tserver.addr=s" };
  expect(summarizeClaim(claim("c", { count: 2, units: 50, annotations, pod: "train" }))?.waiting).toEqual({
    namespace: "team",
    createdAt: Date.parse("2026-11-01T00:00:00Z"),
    description: "claim c",
    pod: { apiVersion: "v1", kind: "Pod", name: "train", uid: "uid-train" },
    request: {
      count: 2,
      units: 50,
      share: { gpus: 2, memoryMb: 8000 },
      filters: [
        { key: "device.name", value: "T4" },
        { key: "server.addr", value: "s" },
      ],
      oneServer: false,
      key: "2 50 2x8000mb device.name=T4\tserver.addr=s false",
    },
  });
});

test("summarizeClaim() tells requests for GPUs of one server from others", () => {
  const requestOf = (oneServer: boolean) => summarizeClaim(claim("c", { count: 2, oneServer }))?.waiting?.request;
  expect(requestOf(true)?.oneServer).toBe(true);
  expect(requestOf(true)?.key).not.toBe(requestOf(false)?.key as string);
});

test("summarizeClaim() describes a claim by the containers that use it", () => {
  const annotations = { "bitfusion.io/containers": "main load" };
  expect(summarizeClaim(claim("c", { annotations }))?.waiting?.description).toBe("the claim of main and load");
});

test.each<[description: string, containers: string]>([
  ["control characters", "main \u001b[2J"],
  ["10,000 characters", "x".repeat(10_000)],
])("summarizeClaim() describes a claim by its name if its annotation has %s instead of containers", (_, containers) => {
  const annotations = { "bitfusion.io/containers": containers };
  expect(summarizeClaim(claim("c", { annotations }))?.waiting?.description).toBe("claim c");
});

test("summarizeClaim() keeps little of annotations of absurd length", () => {
  const filter = `device.name=${"x".repeat(20_000)}`;
  const containers = Array(1000).fill("main").join(" ");
  const annotations = {
    "bitfusion.io/share": "1x".repeat(10_000),
    "bitfusion-client/filter": filter,
    "bitfusion.io/containers": containers,
  };
  const waiting = summarizeClaim(claim("c", { annotations }))?.waiting;
  expect(waiting?.request).toMatchObject({ share: { gpus: 1, percent: 50 }, filters: [] });
  expect(JSON.stringify(waiting).length).toBeLessThan(1000);
});

test("summarizeClaim() ignores an owner whose name no pod can have", () => {
  for (const pod of ["\u001b[2J", "x".repeat(10_000)]) {
    expect(summarizeClaim(claim("c", { pod }))?.waiting).toMatchObject({ pod: undefined });
  }
});

test("summarizeClaim() ignores devices of other drivers and claims for other device classes", () => {
  const { metadata, spec, status } = claim("c", { allocated: { [A]: 5 } });
  const results = status?.allocation?.devices?.results?.map((result) => ({ ...result, driver: "gpu.example" })) ?? [];
  expect(summarizeClaim({ metadata, spec, status: { allocation: { devices: { results } } } })).toBeUndefined();
  const other = { devices: { requests: [{ exactly: { deviceClassName: "gpu.example" } }, {}] } };
  expect(summarizeClaim({ metadata, spec: other })).toBeUndefined();
});

test("summarizeClaim() ignores a waiting claim that is being deleted", () => {
  const { metadata, spec } = claim("c");
  const deleted = { ...metadata, deletionTimestamp: "2026-01-01T00:00:00Z" };
  expect(summarizeClaim({ metadata: deleted, spec })).toBeUndefined();
});

test("summarizeClaim() treats a request without a valid number of units as a request for an entire GPU", () => {
  for (const capacity of [{}, { capacity: { requests: { units: "many" } } }]) {
    const spec = { devices: { requests: [{ exactly: { deviceClassName: "bitfusion.io", ...capacity } }] } };
    expect(summarizeClaim({ ...claim("c"), spec })?.waiting?.request).toMatchObject({ count: 1, units: 100 });
  }
});
