import { expect, test } from "bun:test";
import fc from "fast-check";
import type { NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { splitDeviceKey } from "../../pool/claims/device_key.ts";
import { deviceName } from "../../pool/device_name.ts";
import type { PoolServer } from "../../pool/inventory.ts";
import { applyPlan, devicesOf, gpu, inventoryOf, server } from "../testing.ts";
import { createSlicePlanner, type PoolState, type SlicePlanner } from "./plan.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");
const MINUTE = 60_000;
const OWNER = { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "1" };
const AT = "2026-01-01T00:00:00Z";

interface Options {
  now?: number;
  evictAfter?: number;
  planSlices?: SlicePlanner;
}

type State = Partial<PoolState> & { slices?: readonly ResourceSlice[] };

function plan(state: State, { now = NOW, evictAfter, planSlices = createSlicePlanner(OWNER) }: Options = {}) {
  return planSlices({ inventory: inventoryOf(), slices: [], held: new Map(), ...state }, { now, evictAfter });
}

/** Applies plans until there is nothing left to write. Returns the slices. */
function converge(state: State, options: Options = {}): ResourceSlice[] {
  let slices = state.slices ?? [];
  for (let round = 0; round < 3; round++) slices = applyPlan(slices, plan({ ...state, slices }, options));
  return [...slices];
}

function taints(slices: readonly ResourceSlice[]) {
  return [...devicesOf(slices).values()].map((device) => device.taints);
}

const [A, B] = [deviceName("a"), deviceName("b")];
const both = inventoryOf(server("s:1", [gpu("a"), gpu("b")]));
const published = converge({ inventory: both });

test("createSlicePlanner() publishes each GPU as a device, in a pool that consists of one slice", () => {
  const facts = {
    hostname: "gpu-1",
    hasRdma: false,
    cudaVersion: "12.4",
    driverVersion: "550.54.15",
    dataPlane: { name: "lupine", build: "0.9" },
  };
  const [slice] = converge({ inventory: inventoryOf(server("s:1", [gpu("a", { isolation: "mig" })], { facts })) });
  expect(slice).toEqual({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: {
      name: "bitfusion-0",
      annotations: { "bitfusion.io/pool-gpus": "1" },
      ownerReferences: [OWNER],
    },
    spec: {
      driver: "bitfusion.io",
      pool: { name: "bitfusion-0", generation: 1, resourceSliceCount: 1 },
      nodeSelector: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: "bitfusion.io/driver-ready", operator: "Exists" }] }],
      },
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
            dataPlane: { string: "lupine" },
            dataPlaneBuild: { string: "0.9" },
            isolation: { string: "mig" },
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

test("createSlicePlanner() publishes no data plane and no isolation that a server does not tell", () => {
  const [slice] = converge({ inventory: inventoryOf(server("s:1", [gpu("a")])) });
  const names = Object.keys(slice?.spec.devices?.[0]?.attributes ?? {});
  expect(names).toEqual([
    "id",
    "model",
    "memoryMb",
    "server",
    "host",
    "hostname",
    "hasRdma",
    "cudaVersion",
    "driverVersion",
  ]);
});

const NOTHING = {
  removals: [],
  updates: [],
  creations: [],
  leftOut: new Map(),
  keptForClaims: new Set<string>(),
  nextEviction: undefined,
};

test("createSlicePlanner() plans no writes if the slices match the pool, even with reformatted quantities", () => {
  const stored = structuredClone(published) as unknown as {
    spec: { devices: { capacity: { memory: { value: string } } }[] };
  }[];
  for (const { spec } of stored) for (const { capacity } of spec.devices) capacity.memory.value = "16G";
  expect(plan({ inventory: both, slices: stored as unknown as ResourceSlice[] })).toEqual(NOTHING);
});

test("createSlicePlanner() writes only the slice that has changed", () => {
  const ids = Array.from({ length: 130 }, (_, index) => `gpu-${index}`);
  const all = (changed: string) =>
    inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id, { healthy: id !== changed })),
      ),
    );
  const slices = converge({ inventory: all("") });
  expect(slices.map(({ spec }) => spec.devices?.length)).toEqual([64, 64, 2]);
  const { removals, updates, creations } = plan({ inventory: all("gpu-100"), slices });
  expect([removals, creations]).toEqual([[], []]);
  expect(updates.map(({ desired }) => desired.name)).toEqual(["bitfusion-1"]);
  expect(applyPlan(slices, plan({ inventory: all("gpu-100"), slices }))[1]?.spec.pool.generation).toBe(2);
});

/** The number of GPUs of the whole pool that each slice tells. */
function poolGpus(slices: readonly ResourceSlice[]) {
  return slices.map(({ metadata }) => metadata.annotations?.["bitfusion.io/pool-gpus"]);
}

const READY = { key: "bitfusion.io/driver-ready", operator: "Exists" } as const;
const inZone = (zone: string): NodeSelector => ({
  nodeSelectorTerms: [
    { matchExpressions: [READY, { key: "topology.kubernetes.io/zone", operator: "In", values: [zone] }] },
  ],
});
const everywhere: NodeSelector = { nodeSelectorTerms: [{ matchExpressions: [READY] }] };

/** A server with one GPU, of the same id as its host. It is reached from the nodes of a zone, or from all. */
function serverIn(zone: string | undefined, host: string) {
  const nodes = zone === undefined ? {} : { nodes: { "topology.kubernetes.io/zone": zone } };
  return server(`${host}:1`, [gpu(host)], nodes);
}

/** The nodes that reach the GPUs with these ids, according to the slices. */
function selectorsOf(slices: readonly ResourceSlice[], ...ids: string[]) {
  return ids.map((id) => {
    const slice = slices.find(({ spec }) => spec.devices?.some(({ name }) => name === deviceName(id)));
    const device = slice?.spec.devices?.find(({ name }) => name === deviceName(id));
    expect(Boolean(slice?.spec.nodeSelector)).toBe(!slice?.spec.perDeviceNodeSelection); // exactly one: else it is refused
    expect(Boolean(device?.nodeSelector)).toBe(Boolean(slice?.spec.perDeviceNodeSelection));
    return device?.nodeSelector ?? slice?.spec.nodeSelector;
  });
}

test("createSlicePlanner() publishes the GPUs of a server for the nodes that reach it", () => {
  const alike = converge({ inventory: inventoryOf(serverIn("a", "x"), serverIn("a", "y")) });
  expect(alike[0]?.spec.nodeSelector).toEqual(inZone("a"));
  expect(selectorsOf(alike, "x", "y")).toEqual([inZone("a"), inZone("a")]);
  const inventory = inventoryOf(serverIn("a", "x"), serverIn("b", "y"), serverIn(undefined, "z"));
  const mixed = converge({ inventory });
  expect(selectorsOf(mixed, "x", "y", "z")).toEqual([inZone("a"), inZone("b"), everywhere]);
  expect(plan({ inventory, slices: mixed })).toMatchObject({ removals: [], updates: [], creations: [] });
});

test("createSlicePlanner() moves no GPU when other nodes reach its server, and keeps the nodes of a server that is silent", () => {
  const before = converge({ inventory: inventoryOf(serverIn(undefined, "x"), serverIn(undefined, "y")) });
  const limited = converge({ inventory: inventoryOf(serverIn("a", "x"), serverIn("b", "y")), slices: before });
  expect([...devicesOf(limited).keys()]).toEqual([...devicesOf(before).keys()]);
  expect(selectorsOf(limited, "x", "y")).toEqual([inZone("a"), inZone("b")]);
  const silent = converge({ inventory: inventoryOf(server("x:1"), server("y:1")), slices: limited });
  expect(selectorsOf(silent, "x", "y")).toEqual([inZone("a"), inZone("b")]);
  const open = converge({ inventory: inventoryOf(serverIn(undefined, "x"), serverIn(undefined, "y")), slices: silent });
  expect(selectorsOf(open, "x", "y")).toEqual([everywhere, everywhere]);
});

test("createSlicePlanner() tells in the first slice how many GPUs the whole pool has", () => {
  const ids = Array.from({ length: 130 }, (_, index) => gpu(`gpu-${index}`));
  const slices = converge({ inventory: inventoryOf(server("s:1", ids)) });
  expect(poolGpus(slices)).toEqual(["130", undefined, undefined]);
  const grown = { inventory: inventoryOf(server("s:1", [...ids, gpu("new")])), slices };
  expect(plan(grown).updates.map(({ desired }) => desired.name)).toEqual(["bitfusion-0", "bitfusion-2"]);
  expect(poolGpus(converge(grown))).toEqual(["131", undefined, undefined]);
  const shrunk = converge({ inventory: inventoryOf(server("s:1", ids.slice(64))), slices });
  expect(shrunk.map(({ metadata }) => metadata.name)).toEqual(["bitfusion-1", "bitfusion-2"]);
  expect(poolGpus(shrunk)).toEqual(["66", undefined]);
});

test("createSlicePlanner() tells no number of GPUs while a server that has no published GPU has not reported", () => {
  const options = { planSlices: createSlicePlanner(OWNER) }; // what it remembers must not matter
  const known = converge({ inventory: both }, options);
  expect(poolGpus(known)).toEqual(["2"]);
  const unknown = converge({ inventory: inventoryOf(...both.servers, server("t:1")), slices: known }, options);
  expect(poolGpus(unknown)).toEqual([undefined]);
  expect(poolGpus(converge({ inventory: both, slices: unknown }, options))).toEqual(["2"]);
});

test("createSlicePlanner() still tells the number of GPUs if a server with published GPUs has not reported since the start", () => {
  expect(poolGpus(converge({ inventory: inventoryOf(server("s:1")), slices: published }))).toEqual(["2"]);
});

test("createSlicePlanner() tells no number of GPUs if no server is configured, and does not count GPUs that left the pool", () => {
  expect(poolGpus(converge({ inventory: inventoryOf(), slices: published }))).toEqual([undefined]);
  const held = new Map([[`bitfusion-0/${A}`, 50]]);
  const left = converge({ inventory: inventoryOf(server("s:1", [gpu("b")])), slices: published, held });
  expect(devicesOf(left).size).toBe(2);
  expect(poolGpus(left)).toEqual(["1"]);
});

test("createSlicePlanner() keeps the annotations of others", () => {
  const others = published.map((slice) => ({
    ...slice,
    metadata: { ...slice.metadata, annotations: { by: "another" } },
  }));
  const [slice] = converge({ inventory: both, slices: others });
  expect(slice?.metadata.annotations).toEqual({ by: "another", "bitfusion.io/pool-gpus": "2" });
});

test.each([
  ["of an unreachable server", server("s:1", [gpu("a")], { reachable: false }), "bitfusion.io/unreachable"],
  ["that its server reports as unhealthy", server("s:1", [gpu("a", { healthy: false })]), "bitfusion.io/unhealthy"],
])(
  "createSlicePlanner() taints a GPU %s, evicts its pods if this lasts, and removes the taint afterwards",
  (_, failing, key) => {
    const options = { evictAfter: 5 * MINUTE };
    const slices = converge({
      inventory: inventoryOf(failing),
      slices: converge({ inventory: inventoryOf(server("s:1", [gpu("a")])) }),
    });
    expect(taints(slices)).toEqual([[{ key, effect: "NoSchedule", timeAdded: AT }]]);
    const meanwhile = plan({ inventory: inventoryOf(failing), slices }, { ...options, now: NOW + MINUTE });
    expect(meanwhile).toMatchObject({ updates: [], nextEviction: NOW + 5 * MINUTE });
    const evicting = converge({ inventory: inventoryOf(failing), slices }, { ...options, now: NOW + 5 * MINUTE });
    expect(taints(evicting)).toEqual([[{ key, effect: "NoExecute", timeAdded: "2026-01-01T00:05:00Z" }]]);
    const later = plan({ inventory: inventoryOf(failing), slices: evicting }, { ...options, now: NOW + 60 * MINUTE });
    expect(later).toMatchObject({ updates: [], nextEviction: undefined });
    const recovered = converge({ inventory: inventoryOf(server("s:1", [gpu("a")])), slices: evicting });
    expect(taints(recovered)).toEqual([undefined]);
  },
);

test("createSlicePlanner() shows in the taint why a GPU is unhealthy, and when the reason changes, still since when", () => {
  const reported = (problem?: string) =>
    inventoryOf(server("s:1", [gpu("a", { healthy: false, ...(problem === undefined ? {} : { problem }) })]));
  const taint = { key: "bitfusion.io/unhealthy", effect: "NoSchedule" as const, timeAdded: AT };
  let slices = converge({ inventory: reported("xid-79") });
  expect(taints(slices)).toEqual([[{ ...taint, value: "xid-79" }]]);
  expect(plan({ inventory: reported("xid-79"), slices }).updates).toEqual([]);
  for (const [problem, value] of [
    ["gpu-lost", { value: "gpu-lost" }],
    [undefined, {}],
  ] as const) {
    slices = converge({ inventory: reported(problem), slices }, { now: NOW + MINUTE });
    expect(taints(slices)).toEqual([[{ ...taint, ...value }]]);
  }
});

test("createSlicePlanner() never evicts the pods of a server that is drained, unless its GPU fails", () => {
  const reported = (problem: string) => inventoryOf(server("s:1", [gpu("a", { healthy: false, problem })]));
  const options = { evictAfter: 5 * MINUTE };
  const slices = converge({ inventory: reported("draining") }, options);
  expect(taints(slices)).toEqual([[{ key: "bitfusion.io/draining", effect: "NoSchedule", timeAdded: AT }]]);
  const later = { ...options, now: NOW + 60 * MINUTE };
  expect(plan({ inventory: reported("draining"), slices }, later)).toMatchObject({
    updates: [],
    nextEviction: undefined,
  });
  const failed = converge({ inventory: reported("xid-79"), slices }, options);
  expect(taints(failed)).toMatchObject([[{ key: "bitfusion.io/unhealthy", effect: "NoSchedule" }]]);
  expect(taints(converge({ inventory: reported("xid-79"), slices: failed }, later))).toMatchObject([
    [{ key: "bitfusion.io/unhealthy", effect: "NoExecute" }],
  ]);
  const drainedAfterFailure = converge({ inventory: reported("draining"), slices: failed }, later);
  expect(taints(drainedAfterFailure)).toMatchObject([[{ key: "bitfusion.io/draining", effect: "NoSchedule" }]]);
});

test("createSlicePlanner() never evicts without evictAfter", () => {
  const unreachable = inventoryOf(server("s:1", [gpu("a")], { reachable: false }));
  const slices = converge({ inventory: unreachable });
  expect(plan({ inventory: unreachable, slices }, { now: NOW + 1e12 })).toMatchObject({
    updates: [],
    nextEviction: undefined,
  });
});

test("createSlicePlanner() keeps and taints the GPUs of a server that has not reported since the start", () => {
  const slices = converge({ inventory: inventoryOf(server("s:1")), slices: published });
  expect([...devicesOf(slices).keys()]).toEqual([`bitfusion-0/${A}`, `bitfusion-0/${B}`]);
  const taint = { key: "bitfusion.io/unreachable", effect: "NoSchedule" as const, timeAdded: AT };
  expect(taints(slices)).toEqual([[taint], [taint]]);
});

test.each([
  ["its server no longer reports it", inventoryOf(server("s:1", [gpu("b")]))],
  ["its server has left the pool", inventoryOf(server("other:1", [gpu("b")]))],
])("createSlicePlanner() removes a GPU when %s and no claim holds it", (_, inventory) => {
  const slices = converge({ inventory, slices: published });
  expect([...devicesOf(slices).keys()]).toEqual([`bitfusion-0/${B}`]);
});

test("createSlicePlanner() keeps a GPU that left the pool while a claim holds it, and never evicts its pods", () => {
  const inventory = inventoryOf(server("s:1", [gpu("b")]));
  const held = new Map([[`bitfusion-0/${A}`, 50]]);
  const slices = converge({ inventory, slices: published, held });
  expect(taints(slices)).toEqual([[{ key: "bitfusion.io/gone", effect: "NoSchedule", timeAdded: AT }], undefined]);
  const later = plan({ inventory, slices, held }, { now: NOW + 60 * MINUTE, evictAfter: MINUTE });
  expect(later).toMatchObject({ updates: [], nextEviction: undefined });
  expect([...devicesOf(converge({ inventory, slices })).keys()]).toEqual([`bitfusion-0/${B}`]);
});

test("createSlicePlanner() removes a slice when its last GPU has left the pool", () => {
  expect(converge({ inventory: inventoryOf(server("s:1", [])), slices: published })).toEqual([]);
});

test("createSlicePlanner() keeps and taints all GPUs if the pool has no server at all, and never evicts their pods", () => {
  const slices = converge({ inventory: inventoryOf(), slices: published });
  const taint = { key: "bitfusion.io/gone", effect: "NoSchedule" as const, timeAdded: AT };
  expect(taints(slices)).toEqual([[taint], [taint]]);
  const later = plan({ inventory: inventoryOf(), slices }, { now: NOW + 60 * MINUTE, evictAfter: MINUTE });
  expect(later).toMatchObject({ removals: [], updates: [], nextEviction: undefined });
  expect(taints(converge({ inventory: both, slices }))).toEqual([undefined, undefined]);
});

test("createSlicePlanner() adds a new GPU to the first slice with room, and moves no other", () => {
  const ids = Array.from({ length: 100 }, (_, index) => `gpu-${index}`);
  const slices = converge({
    inventory: inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id)),
      ),
    ),
  });
  const remaining = ids.slice(10); // ten places are free in the first slice
  const next = converge({
    inventory: inventoryOf(
      server(
        "s:1",
        remaining.map((id) => gpu(id)),
      ),
    ),
    slices,
  });
  const grown = converge({
    inventory: inventoryOf(
      server(
        "s:1",
        [...remaining, "new"].map((id) => gpu(id)),
      ),
    ),
    slices: next,
  });
  expect(grown.map(({ spec }) => spec.devices?.length)).toEqual([55, 36]);
  expect(devicesOf(grown).has(`bitfusion-0/${deviceName("new")}`)).toBe(true);
  expect([...devicesOf(grown).keys()]).toEqual(expect.arrayContaining([...devicesOf(next).keys()]));
});

// The scheduler tries the devices in this order: pods fill one server after another, and leave whole servers free.
test("createSlicePlanner() lists the GPUs of a server next to each other, whatever their ids, and keeps this order", () => {
  const [firstIds, secondIds] = [
    ["e", "a", "c", "g"],
    ["d", "h", "b", "f"],
  ] as const;
  const first = server(
    "first:1",
    firstIds.map((id) => gpu(id)),
  );
  const second = server(
    "second:1",
    secondIds.map((id) => gpu(id)),
  );
  const slices = converge({ inventory: inventoryOf(first) });
  const later = converge({ inventory: inventoryOf(second, first), slices });
  const order = [...firstIds, ...secondIds].map(deviceName);
  expect([...devicesOf(later).keys()].map((key) => splitDeviceKey(key).device)).toEqual(order);
});

test("createSlicePlanner() publishes a GPU whose slice was lost in the pool where claims hold it", () => {
  const held = new Map([[`bitfusion-7/${B}`, 60]]);
  expect([...devicesOf(converge({ inventory: both, held })).keys()]).toEqual([`bitfusion-0/${A}`, `bitfusion-7/${B}`]);
});

test("createSlicePlanner() removes slices of another layout first, and publishes their GPUs afterwards", () => {
  const [slice] = published as [ResourceSlice];
  const foreign = { ...slice, metadata: { name: "other" } };
  const half = { ...slice, spec: { ...slice.spec, pool: { ...slice.spec.pool, resourceSliceCount: 2 } } };
  const first = plan({ inventory: both, slices: [foreign, half] });
  expect(first).toMatchObject({ removals: [foreign, half], creations: [] }); // otherwise a GPU would be published twice
  const { removals, creations } = plan({ inventory: both, slices: [] });
  expect(removals).toEqual([]);
  expect(creations.map(({ devices }) => devices.map(({ name }) => name))).toEqual([[A, B]]);
});

test("createSlicePlanner() keeps a GPU only in the first of two slices that contain it", () => {
  const [slice] = published as [ResourceSlice];
  const second = {
    metadata: { name: "bitfusion-1" },
    spec: { ...slice.spec, pool: { ...slice.spec.pool, name: "bitfusion-1" } },
  };
  expect(converge({ inventory: both, slices: [second, slice] })).toEqual(published);
});

test("createSlicePlanner() leaves out a GPU whose device name is taken, and reports why", () => {
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
  const slices = converge({ inventory, held: new Map(last) });
  for (const [key] of last) expect(devicesOf(slices).has(key)).toBe(true);
  const tooMany = new Map(ids.slice(5).map((id) => [`bitfusion-0/${deviceName(id)}`, 10] as const));
  const { creations, leftOut } = plan({ inventory, held: tooMany });
  expect([...leftOut]).toEqual([["gpu-69", "Claims hold it in bitfusion-0, which is full"]]);
  expect(creations.flatMap(({ devices }) => devices)).toHaveLength(69);
});

test("createSlicePlanner() reports the devices that it keeps only because claims hold them", () => {
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
      // no id belongs to two servers
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

test("createSlicePlanner() never publishes a GPU twice, never moves a held one, and converges, whichever writes fail", () => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 8 }), (history) => {
      const planSlices = createSlicePlanner(OWNER);
      let slices: ResourceSlice[] = [];
      for (const { servers: list, holds, failing, lost } of history) {
        if (lost !== null) slices = slices.filter((_, index) => index !== lost); // another client deletes one
        const inventory = inventoryOf(
          ...list.map(({ address, gpus, reachable }) => server(address, gpus, { reachable })),
        );
        const keys = [...devicesOf(slices).keys()];
        const held = new Map(holds.flatMap((index) => (keys[index] ? [[keys[index], 1] as const] : [])));
        const state = { inventory, held };
        const first = plan({ ...state, slices }, { planSlices });
        expect(first).toEqual(plan({ ...state, slices })); // its caches do not change the result
        slices = applyPlan(slices, first, (write) => failing[write] ?? false);
        assertConsistent(slices);
        slices = converge({ ...state, slices }, { planSlices });
        assertConsistent(slices);
        expect(plan({ ...state, slices }, { planSlices })).toMatchObject({ removals: [], updates: [], creations: [] });
        const names = new Set([...devicesOf(slices).keys()].map((key) => splitDeviceKey(key).device));
        for (const { gpus = [] } of list) for (const { id } of gpus) expect(names).toContain(deviceName(id));
        for (const key of held.keys()) expect(devicesOf(slices).has(key)).toBe(true);
        const [told, ...others] = poolGpus(slices);
        const devices = [...devicesOf(slices).values()];
        const isKnown = ({ address, gpus }: PoolServer) =>
          gpus || devices.some(({ attributes }) => Bun.deepEquals(attributes?.server, { string: address }));
        const count = devices.filter(({ taints }) => taints?.[0]?.key !== "bitfusion.io/gone").length;
        expect(told).toBe(slices.length > 0 && inventory.servers.every(isKnown) ? String(count) : undefined);
        expect(others.filter((each) => each !== undefined)).toEqual([]);
      }
    }),
  );
});

function assertConsistent(slices: readonly ResourceSlice[]): void {
  const names = slices.flatMap(({ spec }) => (spec.devices ?? []).map(({ name }) => name));
  expect(new Set(names).size).toBe(names.length);
  for (const { metadata, spec } of slices) {
    expect(spec.pool).toMatchObject({ name: metadata.name, resourceSliceCount: 1 });
    expect(spec.devices?.length).toBeWithin(1, 65);
  }
}
