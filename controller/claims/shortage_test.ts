import { expect, test } from "bun:test";
import { deviceName } from "../../pool/device.ts";
import { publishedGpus } from "../slices/gpus.ts";
import { planSlices } from "../slices/plan.ts";
import { applied, claim, gpu, inventoryOf, server } from "../testing.ts";
import { type HeldUnits, heldUnits, waitingRequest } from "./claims.ts";
import { shortageOf } from "./shortage.ts";

const [A, B, C] = ["a", "b", "c"].map((id) => `bitfusion-0/${deviceName(id)}`) as [string, string, string];
const small = { memoryMb: 8000 };
const inventory = inventoryOf(
  server("s:1", [gpu("a"), gpu("b")]),
  server("away:1", [gpu("c", { ...small, model: "Old" })], { reachable: false }),
);

/** The GPUs of the pool: a and b with so many units held, and c that cannot be reached. */
function gpusWith(held: HeldUnits) {
  const slices = applied([], planSlices({ inventory, slices: [], held: new Map() }, { now: 0 }));
  return publishedGpus(slices, held);
}

const share = (text: string) => ({ "bitfusion.io/share": text });
const filtered = (filter: string) => ({ "bitfusion-client/filter": filter });

test.each<[held: Record<string, number>, claim: Parameters<typeof claim>[1], shortage: string | undefined]>([
  [{}, { units: 100 }, undefined],
  [{ [A]: 60, [B]: 70 }, { units: 40 }, undefined],
  [{ [A]: 60, [B]: 70 }, { units: 60 }, "needs 60 % of one GPU; the freest has 40 %"],
  [{ [A]: 100, [B]: 100 }, { units: 1 }, "needs 1 % of one GPU; the freest has 0 %"],
  [
    { [A]: 60 },
    { units: 50, count: 2 },
    "needs 50 % of each of 2 different GPUs; only 1 has that now: the freest have 100 % and 40 %",
  ],
  [
    { [A]: 60, [B]: 70 },
    { units: 50, count: 2 },
    "needs 50 % of each of 2 different GPUs; none has that now: the freest have 40 % and 30 %",
  ],
  [{}, { units: 50, count: 4 }, "needs 50 % of each of 4 different GPUs; the pool has only 3"],
  [
    { [A]: 60, [B]: 60 },
    { units: 50, annotations: share("1x8000mb") },
    "needs 8000 MB of one GPU; the freest has 40 %",
  ],
  [
    {},
    { units: 50, annotations: filtered("device.name=Old") },
    "needs 50 % of one GPU that matches device.name=Old; none of the pool can be reached now",
  ],
  [
    {},
    { units: 50, annotations: filtered("server.addr=s:1 device.name=New") },
    "needs 50 % of one GPU that matches server.addr=s:1 and device.name=New; the pool has none",
  ],
])("shortageOf() with %j held and %j asked for is %j", (held, options, shortage) => {
  expect(shortageOf(claim("c", options), gpusWith(new Map(Object.entries(held))))).toBe(shortage as never);
});

test("a GPU that is too small for a share of memory is none that could give it", () => {
  const asking = claim("c", {
    units: 30,
    annotations: { ...share("1x4800mb"), ...filtered("device.phy-memory=8000") },
  });
  expect(shortageOf(asking, gpusWith(new Map()))).toEndWith("the pool has none");
});

test("shortageOf() has nothing to say of a claim that has what it asked for", () => {
  expect(
    shortageOf(
      claim("c", { allocated: { [A]: 50 } }),
      gpusWith(
        new Map([
          [A, 100],
          [B, 100],
        ]),
      ),
    ),
  ).toBeUndefined();
});

test("waitingRequest() passes over claims that go, and those of others", () => {
  const { metadata, spec } = claim("c");
  expect(
    waitingRequest({ metadata: { ...metadata, deletionTimestamp: "2026-01-01T00:00:00Z" }, spec }),
  ).toBeUndefined();
  const other = { devices: { requests: [{ exactly: { deviceClassName: "gpu.example" } }, {}] } };
  expect(waitingRequest({ metadata, spec: other })).toBeUndefined();
});

test("waitingRequest() takes a request without capacity for a whole GPU", () => {
  const spec = { devices: { requests: [{ exactly: { deviceClassName: "bitfusion.io" } }] } };
  expect(waitingRequest({ ...claim("c"), spec })).toEqual({ count: 1, units: 100 });
});

test("heldUnits() adds up what claims hold of each GPU, and nothing of other drivers", () => {
  const other = claim("other", { allocated: { [B]: 5 } });
  const [result] = other.status?.allocation?.devices?.results ?? [];
  Object.assign(result ?? {}, { driver: "gpu.example" });
  const claims = [
    claim("x", { allocated: { [A]: 30, [C]: 1 } }),
    claim("y", { allocated: { [A]: 40 } }),
    other,
    claim("z"),
  ];
  expect(heldUnits(claims)).toEqual(
    new Map([
      [A, 70],
      [C, 1],
    ]),
  );
});
