import { expect, test } from "bun:test";
import fc from "fast-check";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { deviceName } from "../../pool/device_name.ts";
import { applied, devicesOf, gpu, inventoryOf, server } from "../testing.ts";
import { splitDeviceKey } from "./device_key.ts";
import { createSlicePlanner, type PoolState, type SlicePlanner } from "./plan.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");
const MINUTE = 60_000;
const AT = "2026-01-01T00:00:00Z";

interface Options {
  now?: number;
  evictAfter?: number;
  planSlices?: SlicePlanner;
}

type State = Partial<PoolState> & { slices?: readonly ResourceSlice[] };

function plan(state: State, { now = NOW, evictAfter, planSlices = createSlicePlanner() }: Options = {}) {
  return planSlices({ inventory: inventoryOf(), slices: [], held: new Map(), ...state }, { now, evictAfter });
}

/** The slices once there is nothing left to write. */
function planned(state: State, options: Options = {}): ResourceSlice[] {
  let slices = state.slices ?? [];
  for (let round = 0; round < 3; round++) slices = applied(slices, plan({ ...state, slices }, options));
  return [...slices];
}

function taints(slices: readonly ResourceSlice[]) {
  return [...devicesOf(slices).values()].map((device) => device.taints);
}

const [A, B] = [deviceName("a"), deviceName("b")];
const both = inventoryOf(server("s:1", [gpu("a"), gpu("b")]));
const published = planned({ inventory: both });

test("createSlicePlanner() makes a device of each GPU, in a pool that is the whole of its slice", () => {
  const [slice] = planned({ inventory: inventoryOf(server("s:1", [gpu("a")])) });
  expect(slice).toEqual({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: "bitfusion-0" },
    spec: {
      driver: "bitfusion.io",
      pool: { name: "bitfusion-0", generation: 1, resourceSliceCount: 1 },
      allNodes: true,
      devices: [
        {
          name: A,
          allowMultipleAllocations: true,
          attributes: {
            id: { string: "a" },
            model: { string: "Tesla T4" },
            memoryMb: { int: 16_000 },
            server: { string: "s:1" },
            host: { string: "s" },
            hostname: { string: "gpu-1" },
            hasRdma: { bool: false },
            cudaVersion: { string: "12.4" },
            driverVersion: { string: "550.54.15" },
          },
          capacity: {
            memory: { value: "16000M", requestPolicy: { default: "0" } },
            units: { value: "100", requestPolicy: { default: "100", validRange: { min: "1", step: "1" } } },
          },
        },
      ],
    },
  } as unknown as ResourceSlice);
});

const NOTHING = {
  removals: [],
  updates: [],
  creations: [],
  leftOut: new Map(),
  keptForClaims: new Set<string>(),
  nextEviction: undefined,
};

test("createSlicePlanner() has nothing to write where the slices are as the pool is, also with quantities in the API server's own form", () => {
  const stored = structuredClone(published) as unknown as {
    spec: { devices: { capacity: { memory: { value: string } } }[] };
  }[];
  for (const { spec } of stored) for (const { capacity } of spec.devices) capacity.memory.value = "16G";
  expect(plan({ inventory: both, slices: stored as unknown as ResourceSlice[] })).toEqual(NOTHING);
});

test("createSlicePlanner() writes the one slice that has changed, and no other", () => {
  const ids = Array.from({ length: 130 }, (_, index) => `gpu-${index}`);
  const all = (changed: string) =>
    inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id, { healthy: id !== changed })),
      ),
    );
  const slices = planned({ inventory: all("") });
  expect(slices.map(({ spec }) => spec.devices?.length)).toEqual([64, 64, 2]);
  const { removals, updates, creations } = plan({ inventory: all("gpu-100"), slices });
  expect([removals, creations]).toEqual([[], []]);
  expect(updates.map(({ desired }) => desired.name)).toEqual(["bitfusion-1"]);
  expect(applied(slices, plan({ inventory: all("gpu-100"), slices }))[1]?.spec.pool.generation).toBe(2);
});

test.each([
  ["of a server that does not answer", server("s:1", [gpu("a")], { reachable: false }), "bitfusion.io/unreachable"],
  ["that its server calls unhealthy", server("s:1", [gpu("a", { healthy: false })]), "bitfusion.io/unhealthy"],
])(
  "createSlicePlanner() taints a GPU %s, evicts its pods when that lasts, and untaints it when it is over",
  (_, away, key) => {
    const options = { evictAfter: 5 * MINUTE };
    const slices = planned({
      inventory: inventoryOf(away),
      slices: planned({ inventory: inventoryOf(server("s:1", [gpu("a")])) }),
    });
    expect(taints(slices)).toEqual([[{ key, effect: "NoSchedule", timeAdded: AT }]]);
    const meanwhile = plan({ inventory: inventoryOf(away), slices }, { ...options, now: NOW + MINUTE });
    expect(meanwhile).toMatchObject({ updates: [], nextEviction: NOW + 5 * MINUTE });
    const evicting = planned({ inventory: inventoryOf(away), slices }, { ...options, now: NOW + 5 * MINUTE });
    expect(taints(evicting)).toEqual([[{ key, effect: "NoExecute", timeAdded: "2026-01-01T00:05:00Z" }]]);
    const later = plan({ inventory: inventoryOf(away), slices: evicting }, { ...options, now: NOW + 60 * MINUTE });
    expect(later).toMatchObject({ updates: [], nextEviction: undefined });
    const back = planned({ inventory: inventoryOf(server("s:1", [gpu("a")])), slices: evicting });
    expect(taints(back)).toEqual([undefined]);
  },
);

test("createSlicePlanner() never evicts without a time for it", () => {
  const away = inventoryOf(server("s:1", [gpu("a")], { reachable: false }));
  const slices = planned({ inventory: away });
  expect(plan({ inventory: away, slices }, { now: NOW + 1e12 })).toMatchObject({
    updates: [],
    nextEviction: undefined,
  });
});

test("createSlicePlanner() keeps what a server had that has not been heard of since the start, tainted", () => {
  const slices = planned({ inventory: inventoryOf(server("s:1")), slices: published });
  expect([...devicesOf(slices).keys()]).toEqual([`bitfusion-0/${A}`, `bitfusion-0/${B}`]);
  const taint = { key: "bitfusion.io/unreachable", effect: "NoSchedule" as const, timeAdded: AT };
  expect(taints(slices)).toEqual([[taint], [taint]]);
});

test.each([
  ["its server has it no longer", inventoryOf(server("s:1", [gpu("b")]))],
  ["its server has left the pool", inventoryOf(server("other:1", [gpu("b")]))],
])("createSlicePlanner() removes a GPU when %s, and nobody holds it", (_, inventory) => {
  const slices = planned({ inventory, slices: published });
  expect([...devicesOf(slices).keys()]).toEqual([`bitfusion-0/${B}`]);
});

test("createSlicePlanner() keeps a GPU that is gone for as long as a claim holds it, tainted and never evicting", () => {
  const inventory = inventoryOf(server("s:1", [gpu("b")]));
  const held = new Map([[`bitfusion-0/${A}`, 50]]);
  const slices = planned({ inventory, slices: published, held });
  expect(taints(slices)).toEqual([[{ key: "bitfusion.io/gone", effect: "NoSchedule", timeAdded: AT }], undefined]);
  const later = plan({ inventory, slices, held }, { now: NOW + 60 * MINUTE, evictAfter: MINUTE });
  expect(later).toMatchObject({ updates: [], nextEviction: undefined });
  expect([...devicesOf(planned({ inventory, slices })).keys()]).toEqual([`bitfusion-0/${B}`]);
});

test("createSlicePlanner() removes a slice whose last GPU is gone", () => {
  expect(planned({ inventory: inventoryOf(), slices: published })).toEqual([]);
});

test("createSlicePlanner() puts a new GPU into the first slice with room, and moves none for it", () => {
  const ids = Array.from({ length: 100 }, (_, index) => `gpu-${index}`);
  const slices = planned({
    inventory: inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id)),
      ),
    ),
  });
  const left = ids.slice(10); // ten places are free in the first slice
  const next = planned({
    inventory: inventoryOf(
      server(
        "s:1",
        left.map((id) => gpu(id)),
      ),
    ),
    slices,
  });
  const grown = planned({
    inventory: inventoryOf(
      server(
        "s:1",
        [...left, "new"].map((id) => gpu(id)),
      ),
    ),
    slices: next,
  });
  expect(grown.map(({ spec }) => spec.devices?.length)).toEqual([55, 36]);
  expect(devicesOf(grown).has(`bitfusion-0/${deviceName("new")}`)).toBe(true);
  expect([...devicesOf(grown).keys()]).toEqual(expect.arrayContaining([...devicesOf(next).keys()]));
});

test("createSlicePlanner() puts a GPU whose slice was lost where claims that hold it know it", () => {
  const held = new Map([[`bitfusion-7/${B}`, 60]]);
  expect([...devicesOf(planned({ inventory: both, held })).keys()]).toEqual([`bitfusion-0/${A}`, `bitfusion-7/${B}`]);
});

test("createSlicePlanner() removes slices of another layout first, and publishes their GPUs after that", () => {
  const [slice] = published as [ResourceSlice];
  const foreign = { ...slice, metadata: { name: "other" } };
  const half = { ...slice, spec: { ...slice.spec, pool: { ...slice.spec.pool, resourceSliceCount: 2 } } };
  const first = plan({ inventory: both, slices: [foreign, half] });
  expect(first).toMatchObject({ removals: [foreign, half], creations: [] }); // else a GPU would be there twice
  const { removals, creations } = plan({ inventory: both, slices: [] });
  expect(removals).toEqual([]);
  expect(creations.map(({ devices }) => devices.map(({ name }) => name))).toEqual([[A, B]]);
});

test("createSlicePlanner() leaves a GPU in the first of two slices that have it", () => {
  const [slice] = published as [ResourceSlice];
  const second = {
    metadata: { name: "bitfusion-1" },
    spec: { ...slice.spec, pool: { ...slice.spec.pool, name: "bitfusion-1" } },
  };
  expect(planned({ inventory: both, slices: [second, slice] })).toEqual(published);
});

test("createSlicePlanner() leaves out a GPU with the device name of another, and says which", () => {
  const twice = inventoryOf(server("s:1", [gpu("a")]), server("t:1", [gpu("a")]));
  expect(plan({ inventory: twice }).leftOut).toEqual(new Map([["a", `Another GPU has the device name ${A}`]]));
});

test("createSlicePlanner() places GPUs that claims hold before all others, and never in another pool", () => {
  const ids = Array.from({ length: 70 }, (_, index) => `gpu-${index}`);
  const inventory = inventoryOf(
    server(
      "s:1",
      ids.map((id) => gpu(id)),
    ),
  );
  const last = ids.slice(6).map((id) => [`bitfusion-0/${deviceName(id)}`, 10] as const); // fills the slice
  const slices = planned({ inventory, held: new Map(last) });
  for (const [key] of last) expect(devicesOf(slices).has(key)).toBe(true);
  const tooMany = new Map(ids.slice(5).map((id) => [`bitfusion-0/${deviceName(id)}`, 10] as const));
  const { creations, leftOut } = plan({ inventory, held: tooMany });
  expect([...leftOut]).toEqual([["gpu-69", "Claims hold it in bitfusion-0, which is full"]]);
  expect(creations.flatMap(({ devices }) => devices)).toHaveLength(69);
});

test("createSlicePlanner() names the devices that it keeps only because claims hold them", () => {
  const held = new Map([
    [`bitfusion-0/${A}`, 50],
    [`bitfusion-0/${B}`, 50],
  ]);
  const state = { inventory: inventoryOf(server("s:1", [gpu("b")])), slices: published, held };
  expect(plan(state).keptForClaims).toEqual(new Set([`bitfusion-0/${A}`]));
});

const ids = fc.subarray(Array.from({ length: 6 }, (_, index) => `gpu-${index}`));
const servers = fc.tuple(
  ...["s:1", "t:1"].map((address, index) =>
    fc.record({
      address: fc.constant(address),
      reachable: fc.boolean(),
      // ids of one server are never another's
      gpus: fc.option(
        ids.map((list) => list.map((id) => gpu(`${index}/${id}`))),
        { nil: undefined },
      ),
    }),
  ),
);
const steps = fc.record({
  servers,
  holds: fc.array(fc.nat(20)),
  failing: fc.array(fc.boolean(), { maxLength: 4 }),
  lost: fc.option(fc.nat(3)),
});

test("createSlicePlanner() never has a GPU twice, never moves one that is held, and ends with the pool as it is, whichever writes fail", () => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 8 }), (history) => {
      const planSlices = createSlicePlanner();
      let slices: ResourceSlice[] = [];
      for (const { servers: list, holds, failing, lost } of history) {
        if (lost !== null) slices = slices.filter((_, index) => index !== lost); // somebody deletes one
        const inventory = inventoryOf(
          ...list.map(({ address, gpus, reachable }) => server(address, gpus, { reachable })),
        );
        const keys = [...devicesOf(slices).keys()];
        const held = new Map(holds.flatMap((index) => (keys[index] ? [[keys[index], 1] as const] : [])));
        const state = { inventory, held };
        const first = plan({ ...state, slices }, { planSlices });
        expect(first).toEqual(plan({ ...state, slices })); // what it remembers changes nothing
        slices = applied(slices, first, (write) => failing[write] ?? false);
        assertSound(slices);
        slices = planned({ ...state, slices }, { planSlices });
        assertSound(slices);
        expect(plan({ ...state, slices }, { planSlices })).toMatchObject({ removals: [], updates: [], creations: [] });
        const names = new Set([...devicesOf(slices).keys()].map((key) => splitDeviceKey(key).device));
        for (const { gpus = [] } of list) for (const { id } of gpus) expect(names).toContain(deviceName(id));
        for (const key of held.keys()) expect(devicesOf(slices).has(key)).toBe(true);
      }
    }),
  );
});

function assertSound(slices: readonly ResourceSlice[]): void {
  const names = slices.flatMap(({ spec }) => (spec.devices ?? []).map(({ name }) => name));
  expect(new Set(names).size).toBe(names.length);
  for (const { metadata, spec } of slices) {
    expect(spec.pool).toMatchObject({ name: metadata.name, resourceSliceCount: 1 });
    expect(spec.devices?.length).toBeWithin(1, 65);
  }
}
