import { expect, test } from "bun:test";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Gpu, PoolServer } from "../pool/inventory.ts";
import { ListAndWatchResponseSchema } from "../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { type Unit, unitsOf } from "./devices.ts";

function gpu(id: string, healthy = true): Gpu {
  return { id, model: "Tesla T4", memoryMb: 16_000, healthy };
}

function server(address: string, gpus?: Gpu[], reachable = true): PoolServer {
  return gpus ? { address, reachable, gpus } : { address, reachable };
}

function count(units: Unit[]): [all: number, healthy: number] {
  return [units.length, units.filter(({ healthy }) => healthy).length];
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
  ["nothing for silent servers without resourceNums", [server("a:1")], undefined, [0, 0]],
  ["a GPU that two servers tell once", [server("a:1", [gpu("x")]), server("b:1", [gpu("x")])], undefined, [100, 100]],
  ["nothing for an empty pool", [], 1000, [0, 0]],
])("unitsOf() lists %s", (_, servers, resourceNums, expected) => {
  expect(count(unitsOf({ servers }, resourceNums))).toEqual(expected);
});

test("unitsOf() gives a GPU the same ids whatever else the pool has", () => {
  const alone = unitsOf({ servers: [server("a:1", [gpu("x")])] });
  const among = unitsOf({ servers: [server("b:1", [gpu("y")]), server("a:1", [gpu("x")], false)] });
  expect(among.slice(100).map(({ id }) => id)).toEqual(alone.map(({ id }) => id));
});

test("unitsOf() makes ids that are unique, short, and let 100,000 fit into the kubelet's 4 MiB", () => {
  const gpus = Array.from({ length: 1000 }, (_, index) => gpu(`GPU-fef8089b-4820-abfc-e83e-${index}`));
  const units = unitsOf({ servers: [server("a:1", gpus)] });
  expect(new Set(units.map(({ id }) => id)).size).toBe(100_000);
  const list = create(ListAndWatchResponseSchema, {
    devices: units.map(({ id }) => ({ ID: id, health: "Unhealthy" })),
  });
  expect(toBinary(ListAndWatchResponseSchema, list).byteLength).toBeLessThan(4 * 1024 * 1024);
});
