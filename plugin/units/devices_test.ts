import { expect, test } from "bun:test";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Gpu, PoolServer } from "../../pool/inventory.ts";
import { ListAndWatchResponseSchema } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { countUnits, gpuOf, listUnits, MAX_UNITS, type UnitList, unitIds } from "./devices.ts";

function gpu(id: string, healthy = true): Gpu {
  return { id, model: "Tesla T4", memoryMb: 16_000, healthy };
}

/** A server that reports these GPUs, or a foreign one. */
function server(address: string, gpus?: Gpu[], reachable = true): PoolServer {
  return gpus ? { address, reachable, gpus } : { address, reachable, foreign: true };
}

function count({ gpus }: UnitList): [all: number, healthy: number] {
  const { units, healthy } = countUnits(gpus.values());
  return [units, healthy];
}

function idsOf({ gpus }: UnitList): string[] {
  return [...gpus.values()].flatMap(unitIds);
}

test.each<[string, PoolServer[], number | undefined, [number, number]]>([
  ["100 units for each GPU that a server reports", [server("a:1", [gpu("x"), gpu("y")])], undefined, [200, 200]],
  ["unhealthy units for an unhealthy GPU", [server("a:1", [gpu("x"), gpu("y", false)])], undefined, [200, 100]],
  [
    "unhealthy units for an unreachable server",
    [server("a:1", [gpu("x")]), server("b:1", [gpu("y")], false)],
    undefined,
    [200, 100],
  ],
  ["no units for a server without GPUs", [server("a:1", [])], undefined, [0, 0]],
  ["at most resourceNums of a pool that reports GPUs", [server("a:1", [gpu("x"), gpu("y")])], 150, [150, 150]],
  ["resourceNums for one server that does not report its GPUs", [server("a:1")], 1000, [1000, 1000]],
  [
    "resourceNums split over servers that do not report their GPUs",
    [server("a:1"), server("b:1", undefined, false), server("c:1")],
    1000,
    [1000, 667],
  ],
  [
    "nothing for a server that has not reported yet, beside one that has",
    [server("a:1"), server("b:1", undefined, false), server("c:1", [gpu("x")])],
    1000,
    [100, 100],
  ],
  ["nothing for a server that has not answered", [{ address: "a:1", reachable: false }], 1000, [0, 0]],
  [
    "the part of a foreign server beside one that has not answered",
    [{ address: "a:1", reachable: false }, server("b:1")],
    1000,
    [500, 500],
  ],
  ["nothing for a server that does not report its GPUs, without resourceNums", [server("a:1")], undefined, [0, 0]],
  ["nothing for an empty pool", [], 1000, [0, 0]],
])("listUnits() lists %s", (_, servers, resourceNums, expected) => {
  expect(count(listUnits({ servers }, { resourceNums }))).toEqual(expected);
});

test("listUnits() keeps the ids of a GPU when its other properties or the rest of the pool change", () => {
  const alone = listUnits({ servers: [server("a:1", [gpu("x")])] });
  const larger = { ...gpu("x"), memoryMb: 80_000, model: "Another" };
  const among = listUnits({ servers: [server("b:1", [gpu("y")]), server("a:1", [larger], false)] });
  expect(idsOf(among).slice(100)).toEqual(idsOf(alone));
});

test.each<[string, PoolServer[], number | undefined]>([
  [
    "servers that report their GPUs",
    [
      server(
        "a:1",
        ["a", "b", "c"].map((id) => gpu(id)),
      ),
      server("b:1", [gpu("d")], false),
    ],
    undefined,
  ],
  ["servers that do not report their GPUs", [server("a:1"), server("b:1")], 450],
])("listUnits() lists each unit of %s in exactly one part", (_, servers, resourceNums) => {
  const all = idsOf(listUnits({ servers }, { resourceNums }));
  for (const nodes of [1, 2, 3, 7]) {
    const parts = Array.from({ length: nodes }, (_, index) =>
      listUnits({ servers }, { resourceNums, part: { index, nodes } }),
    );
    expect(parts.flatMap(idsOf).sort()).toEqual(all.toSorted());
  }
});

test("listUnits() gives each node different GPUs, even while a node does not know those of all servers", () => {
  const servers = [server("a:1", [gpu("a"), gpu("b")]), server("b:1", [gpu("c")])];
  const incomplete = [server("a:1", undefined, false), ...servers.slice(1)];
  const part = (index: number) => ({ part: { index, nodes: 2 } });
  expect(count(listUnits({ servers }, part(0)))).toEqual([100, 100]);
  expect(count(listUnits({ servers }, part(1)))).toEqual([200, 200]);
  expect(idsOf(listUnits({ servers: incomplete }, part(1)))).toEqual(idsOf(listUnits({ servers }, part(1))).slice(100));
  expect(count(listUnits({ servers }, part(-1)))).toEqual([0, 0]);
});

test("listUnits() counts the units of the pool that it leaves out", () => {
  const { gpus, unlisted } = listUnits({ servers: [server("a:1", [gpu("x"), gpu("y")])] }, { resourceNums: 150 });
  expect([...gpus.values()].map((each) => each.count)).toEqual([100, 50]);
  expect(unlisted).toBe(50);
});

test("listUnits() creates unique ids of at most 63 characters", () => {
  const gpus = Array.from({ length: 1000 }, (_, index) => gpu(`GPU-fef8089b-4820-abfc-e83e-${index}`));
  const ids = idsOf(listUnits({ servers: [server("a:1", gpus)] }));
  expect(new Set(ids).size).toBe(100_000);
  expect(Math.max(...ids.map((id) => id.length))).toBeLessThanOrEqual(63);
});

test("listUnits() lists more than 100,000 units, but no more than the kubelet accepts in one message", () => {
  const gpus = Array.from({ length: 2000 }, (_, index) => gpu(`GPU-${index}`));
  const list = listUnits({ servers: [server("a:1", gpus)] });
  const ids = idsOf(list);
  expect(ids.length).toBe(MAX_UNITS);
  expect(MAX_UNITS).toBeGreaterThan(100_000);
  expect(list.unlisted).toBe(200_000 - MAX_UNITS);
  const message = create(ListAndWatchResponseSchema, { devices: ids.map((ID) => ({ ID, health: "Unhealthy" })) });
  expect(toBinary(ListAndWatchResponseSchema, message).byteLength).toBeLessThanOrEqual(4 * 1024 * 1024);
});

test("gpuOf() returns the GPU of each listed unit, and undefined for any other id", () => {
  const list = listUnits({ servers: [server("a:1", [gpu("x"), gpu("y")])] }, { resourceNums: 150 });
  for (const each of list.gpus.values()) for (const id of unitIds(each)) expect(gpuOf(id, list)).toBe(each);
  const [, second] = [...list.gpus.values()];
  for (const id of ["", "GPU-7", `${second?.name}-50`, `${second?.name}-1`, `${second?.name}-010`, `${second?.name}`]) {
    expect(gpuOf(id, list)).toBeUndefined();
  }
});
