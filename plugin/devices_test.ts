import { expect, test } from "bun:test";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Gpu, PoolServer } from "../pool/inventory.ts";
import { ListAndWatchResponseSchema } from "../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { countUnits, gpuOf, MOST_UNITS, type UnitList, unitIds, unitsOf } from "./devices.ts";

function gpu(id: string, healthy = true): Gpu {
  return { id, model: "Tesla T4", memoryMb: 16_000, healthy };
}

function server(address: string, gpus?: Gpu[], reachable = true): PoolServer {
  return gpus ? { address, reachable, gpus } : { address, reachable };
}

function count({ gpus }: UnitList): [all: number, healthy: number] {
  const { units, healthy } = countUnits(gpus.values());
  return [units, healthy];
}

function idsOf({ gpus }: UnitList): string[] {
  return [...gpus.values()].flatMap(unitIds);
}

test.each<[string, PoolServer[], number | undefined, [number, number]]>([
  ["100 units for each GPU that is told", [server("a:1", [gpu("x"), gpu("y")])], undefined, [200, 200]],
  ["unhealthy units for an unhealthy GPU", [server("a:1", [gpu("x"), gpu("y", false)])], undefined, [200, 100]],
  [
    "unhealthy units for a server that is away",
    [server("a:1", [gpu("x")]), server("b:1", [gpu("y")], false)],
    undefined,
    [200, 100],
  ],
  ["no units for a server without GPUs", [server("a:1", [])], undefined, [0, 0]],
  ["no more than resourceNums of a pool that tells", [server("a:1", [gpu("x"), gpu("y")])], 150, [150, 150]],
  ["resourceNums for one silent server", [server("a:1")], 1000, [1000, 1000]],
  [
    "resourceNums split over silent servers",
    [server("a:1"), server("b:1", undefined, false), server("c:1")],
    1000,
    [1000, 667],
  ],
  [
    "nothing for a server that has not told yet, beside one that has",
    [server("a:1"), server("b:1", undefined, false), server("c:1", [gpu("x")])],
    1000,
    [100, 100],
  ],
  ["nothing for silent servers without resourceNums", [server("a:1")], undefined, [0, 0]],
  ["nothing for an empty pool", [], 1000, [0, 0]],
])("unitsOf() lists %s", (_, servers, resourceNums, expected) => {
  expect(count(unitsOf({ servers }, { resourceNums }))).toEqual(expected);
});

test("unitsOf() gives a GPU the same ids whatever else the pool has, and whatever else changes of it", () => {
  const alone = unitsOf({ servers: [server("a:1", [gpu("x")])] });
  const larger = { ...gpu("x"), memoryMb: 80_000, model: "Another" };
  const among = unitsOf({ servers: [server("b:1", [gpu("y")]), server("a:1", [larger], false)] });
  expect(idsOf(among).slice(100)).toEqual(idsOf(alone));
});

test.each<[string, PoolServer[], number | undefined]>([
  [
    "servers that tell",
    [
      server(
        "a:1",
        ["a", "b", "c"].map((id) => gpu(id)),
      ),
      server("b:1", [gpu("d")], false),
    ],
    undefined,
  ],
  ["silent servers", [server("a:1"), server("b:1")], 450],
])("unitsOf() of all parts of a pool of %s is the whole, and none is in two", (_, servers, resourceNums) => {
  const whole = idsOf(unitsOf({ servers }, { resourceNums }));
  for (const nodes of [1, 2, 3, 7]) {
    const parts = Array.from({ length: nodes }, (_, index) =>
      unitsOf({ servers }, { resourceNums, part: { index, nodes } }),
    );
    expect(parts.flatMap(idsOf).sort()).toEqual(whole.toSorted());
  }
});

test("unitsOf() gives each node GPUs of its own, also while one has not heard of all servers", () => {
  const servers = [server("a:1", [gpu("a"), gpu("b")]), server("b:1", [gpu("c")])];
  const unheard = [server("a:1", undefined, false), ...servers.slice(1)];
  const part = (index: number) => ({ part: { index, nodes: 2 } });
  expect(count(unitsOf({ servers }, part(0)))).toEqual([100, 100]);
  expect(count(unitsOf({ servers }, part(1)))).toEqual([200, 200]);
  expect(idsOf(unitsOf({ servers: unheard }, part(1)))).toEqual(idsOf(unitsOf({ servers }, part(1))).slice(100));
  expect(count(unitsOf({ servers }, part(-1)))).toEqual([0, 0]);
});

test("unitsOf() tells how many units of the pool are left out", () => {
  const { gpus, unlisted } = unitsOf({ servers: [server("a:1", [gpu("x"), gpu("y")])] }, { resourceNums: 150 });
  expect([...gpus.values()].map((each) => each.count)).toEqual([100, 50]);
  expect(unlisted).toBe(50);
});

test("unitsOf() makes ids that are unique and of at most 63 characters", () => {
  const gpus = Array.from({ length: 1000 }, (_, index) => gpu(`GPU-fef8089b-4820-abfc-e83e-${index}`));
  const ids = idsOf(unitsOf({ servers: [server("a:1", gpus)] }));
  expect(new Set(ids).size).toBe(100_000);
  expect(Math.max(...ids.map((id) => id.length))).toBeLessThanOrEqual(63);
});

test("unitsOf() lists more than 100,000 units, and no more than the kubelet can read in one message", () => {
  const gpus = Array.from({ length: 2000 }, (_, index) => gpu(`GPU-${index}`));
  const list = unitsOf({ servers: [server("a:1", gpus)] });
  const ids = idsOf(list);
  expect(ids.length).toBe(MOST_UNITS);
  expect(MOST_UNITS).toBeGreaterThan(100_000);
  expect(list.unlisted).toBe(200_000 - MOST_UNITS);
  const message = create(ListAndWatchResponseSchema, { devices: ids.map((ID) => ({ ID, health: "Unhealthy" })) });
  expect(toBinary(ListAndWatchResponseSchema, message).byteLength).toBeLessThanOrEqual(4 * 1024 * 1024);
});

test("gpuOf() finds the GPU of each listed unit, and none for any other id", () => {
  const list = unitsOf({ servers: [server("a:1", [gpu("x"), gpu("y")])] }, { resourceNums: 150 });
  for (const each of list.gpus.values()) for (const id of unitIds(each)) expect(gpuOf(id, list)).toBe(each);
  const [, second] = [...list.gpus.values()];
  for (const id of ["", "GPU-7", `${second?.name}-50`, `${second?.name}-1`, `${second?.name}-010`, `${second?.name}`]) {
    expect(gpuOf(id, list)).toBeUndefined();
  }
});
