import { expect, test } from "bun:test";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { Device, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { claim } from "../claims/testing.ts";
import { waitingClaim } from "../claims/waiting_claim.ts";
import { describeJointShortage, describeShortage } from "./shortage.ts";
import { createSupply } from "./supply.ts";

const [A, B] = ["bitfusion-0/a", "bitfusion-0/b"];

const device = (name: string, server: string, model: string, memoryMb: number): Device => ({
  name,
  attributes: { server: { string: server }, model: { string: model }, memoryMb: { int: memoryMb } },
});
const UNREACHABLE = {
  key: "bitfusion.io/unreachable",
  effect: "NoSchedule",
  timeAdded: "1970-01-01T00:00:00Z",
} as const;
const slices: ResourceSlice[] = [
  {
    metadata: { name: "bitfusion-0" },
    spec: {
      driver: "bitfusion.io",
      pool: { name: "bitfusion-0", generation: 1, resourceSliceCount: 1 },
      devices: [
        device("a", "s:1", "Tesla T4", 16_000),
        device("b", "s:1", "Tesla T4", 16_000),
        { ...device("c", "unreachable:1", "Old", 8000), taints: [UNREACHABLE] },
      ],
    },
  },
];

/** The shortage of a claim while this many units of a and b are held. GPU c is unreachable. */
function shortageOf(options: Parameters<typeof claim>[1], held: Readonly<Record<string, number>>) {
  return describeShortage(requestOf(claim("c", options)), createSupply()(slices, new Map(Object.entries(held))));
}

function requestOf(waiting: ResourceClaim) {
  const { request } = waitingClaim(waiting) ?? {};
  if (!request) throw new Error("The claim waits for nothing");
  return request;
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
    "needs 50 % of one GPU that matches device.name=Old; none of the pool takes new pods now",
  ],
  [
    {},
    { units: 50, annotations: filtered("server.addr=s:1 device.name=New") },
    "needs 50 % of one GPU that matches server.addr=s:1 and device.name=New; the pool has none",
  ],
  [
    {},
    { units: 50, annotations: filtered("server.data-plane=lupine server.data-plane-build=2") },
    "needs 50 % of one GPU that matches server.data-plane=lupine and server.data-plane-build=2; no server has this data plane: they have none",
  ],
])("describeShortage() with %j held and a request for %j returns %j", (held, options, shortage) => {
  expect(shortageOf(options, held)).toBe(shortage as never);
});

/** Two servers with two GPUs each, and one with one. */
const SERVERS = {
  supply: [
    ["s:1", 100],
    ["s:1", 40],
    ["s:2", 50],
    ["s:2", 70],
    ["s:3", 100],
  ].map(([server, free]) => ({
    attributes: { server: String(server), memoryMb: 16_000 },
    isTainted: false,
    held: 100 - Number(free),
    free: Number(free),
  })),
};

test.each<[claim: Parameters<typeof claim>[1], shortage: string | undefined]>([
  [{ units: 50, count: 2, oneServer: true }, undefined],
  [
    { units: 60, count: 2, oneServer: true },
    "needs 60 % of each of 2 different GPUs of one server; only 1 has that now: the freest of one server have 70 % and 50 %",
  ],
  [{ units: 60, count: 2 }, undefined],
  [
    { units: 80, count: 2, oneServer: true },
    "needs 80 % of each of 2 different GPUs of one server; only 1 has that now: the freest of one server have 100 % and 40 %",
  ],
  [
    { units: 1, count: 3, oneServer: true },
    "needs 1 % of each of 3 different GPUs of one server; no server has more than 2",
  ],
  [
    { units: 1, count: 2, oneServer: true, annotations: filtered("server.addr=s:4") },
    "needs 1 % of each of 2 different GPUs of one server that match server.addr=s:4; the pool has none",
  ],
  [{ units: 100, count: 1, oneServer: true }, undefined],
])("describeShortage() of a request for %j on three servers returns %j", (options, shortage) => {
  expect(describeShortage(requestOf(claim("c", options)), SERVERS.supply)).toBe(shortage as never);
});

test("describeJointShortage() says what two requests for GPUs of one server lack", () => {
  const requests = [50, 20].map((units) => requestOf(claim("c", { units, count: 2, oneServer: true })));
  expect(describeJointShortage(requests, SERVERS.supply)).toBeUndefined();
  const alone = SERVERS.supply.filter(({ attributes }) => attributes.server !== "s:1");
  expect(describeJointShortage(requests, alone)).toBe(
    "needs 50 % of each of 2 different GPUs of one server and 20 % of each of 2 different GPUs of one server at the same time; the freest GPUs have 100 %, 70 % and 50 %",
  );
});

test("a taint without effect leaves a GPU to new pods", () => {
  const taints = [{ key: "example.com/note", effect: "None", timeAdded: "1970-01-01T00:00:00Z" } as const];
  const devices = [{ ...device("a", "s:1", "Tesla T4", 16_000), taints }];
  const [slice] = slices;
  const supply = createSupply()(slice ? [{ ...slice, spec: { ...slice.spec, devices } }] : [], new Map());
  expect(supply.map(({ isTainted, free }) => [isTainted, free])).toEqual([[false, 100]]);
});

test("describeShortage() does not count a GPU that is too small for a memory share", () => {
  const annotations = { ...share("1x4800mb"), ...filtered("device.phy-memory=8000") };
  expect(shortageOf({ units: 30, annotations }, {})).toEndWith("the pool has none");
});

test("describeShortage() describes a claim by its request if a tenant wrote another text than a share on it", () => {
  for (const text of [`1x${"9".repeat(310)}mb`, "1x0mb", "-1x50", "0x0"]) {
    const shortage = shortageOf({ units: 60, annotations: share(text) }, { [A]: 60, [B]: 70 });
    expect(shortage).toBe("needs 60 % of one GPU; the freest has 40 %");
  }
});

test.each<[held: Record<string, number>, requests: Parameters<typeof claim>[1][], shortage: string | undefined]>([
  [{}, [{ units: 60 }, { units: 60 }], undefined],
  [{ [A]: 30 }, [{ units: 60 }, { units: 60 }, { units: 20 }], undefined],
  [
    { [A]: 60 },
    [{ units: 60 }, { units: 60 }, { units: 20 }],
    "needs 2 × 60 % of one GPU and 20 % of one GPU at the same time; the freest GPUs have 100 %, 40 % and 0 %",
  ],
  [
    { [A]: 60 },
    [
      { units: 60, annotations: filtered("server.addr=s:1") },
      { units: 50, annotations: filtered("server.addr=s:1") },
    ],
    "needs 60 % of one GPU that matches server.addr=s:1 and 50 % of one GPU that matches server.addr=s:1 at the same time; the freest GPUs have 100 % and 40 %",
  ],
  [
    {},
    [{ units: 60, count: 2 }, { units: 60 }],
    "needs 60 % of each of 2 different GPUs and 60 % of one GPU at the same time; the freest GPUs have 100 %, 100 % and 0 %",
  ],
  [
    {},
    [
      { units: 60, count: 2 },
      { units: 60, count: 2 },
    ],
    "needs 2 × 60 % of each of 2 different GPUs at the same time; the pool is too small for that, even if nobody else uses it",
  ],
])("describeJointShortage() with %j held and requests for %j returns %j", (held, options, shortage) => {
  const requests = options.map((each) => requestOf(claim("c", each)));
  const supply = createSupply()(slices, new Map(Object.entries(held)));
  expect(describeJointShortage(requests, supply)).toBe(shortage as never);
  for (const request of requests) expect(describeShortage(request, supply)).toBeUndefined();
});
