import { expect, test } from "bun:test";
import { attributesOf, type DeviceAttributes } from "../attributes.ts";
import { createMatcher } from "../filter.ts";
import { dataPlaneFilters, describeMissingDataPlane } from "./data_plane.ts";

/** A GPU of a server with this data plane, or with none. */
function gpu(name?: string, build = "1"): DeviceAttributes {
  const facts = { hostname: "s", hasRdma: false, cudaVersion: "", driverVersion: "" };
  const dataPlane = name === undefined ? {} : { dataPlane: { name, build } };
  return attributesOf({ facts: { ...facts, ...dataPlane } }, { id: "a", model: "T4", memoryMb: 1, healthy: true });
}

const LUPINE = dataPlaneFilters({ name: "lupine", build: "1" });

test("dataPlaneFilters() select GPUs of servers with the same name and build", () => {
  const matches = createMatcher(LUPINE);
  expect([gpu("lupine"), gpu("lupine", "2"), gpu("other"), gpu()].map(matches)).toEqual([true, false, false, false]);
});

test.each([
  ["no filter for one", [{ key: "device.name", value: "A100" }], [gpu()], undefined],
  ["no GPUs", LUPINE, [], undefined],
  ["a GPU that has it", LUPINE, [gpu(), gpu("lupine")], undefined],
  [
    "other builds and servers without any",
    LUPINE,
    [gpu("lupine", "3"), gpu("lupine", "2"), gpu(), gpu("lupine", "2")],
    "no server has this data plane: they have lupine of build 2, lupine of build 3 and none",
  ],
  [
    "many others",
    LUPINE,
    Array.from({ length: 9 }, (_, build) => gpu("other", String(build))),
    "no server has this data plane: they have other of build 0, other of build 1, other of build 2, other of build 3 and 5 others",
  ],
])("describeMissingDataPlane() with %s returns the right sentence", (_, filters, gpus, expected) => {
  expect(describeMissingDataPlane(filters, gpus)).toBe(expected as never);
});
