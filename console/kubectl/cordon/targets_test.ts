import { expect, test } from "bun:test";
import { device, slice } from "../../view/testing.ts";
import { viewPool } from "../../view/view.ts";
import { findTargets } from "./targets.ts";

const gpu = (name: string, id: string, server: string, hostname: string) => {
  const made = device(name, server);
  return {
    ...made,
    attributes: {
      ...made.attributes,
      id: { string: id },
      hostname: { string: hostname },
      host: { string: server.split(":")[0] ?? "" },
    },
  };
};

const POOL = viewPool({
  slices: [
    slice("bitfusion-0", [
      gpu("gpu-1", "GPU-aa11", "10.0.0.1:56001", "rack-1"),
      gpu("gpu-2", "GPU-aa22", "10.0.0.1:56001", "rack-1"),
      gpu("gpu-3", "GPU-bb33", "10.0.0.1:56002", "rack-2"),
      gpu("gpu-4", "rack-2", "10.0.0.9:56001", "other"),
    ]),
  ],
  claims: [],
});

const find = (...targets: string[]) => findTargets(POOL, targets).map(({ device }) => device);

test("findTargets() finds a server by address, host or name, and a GPU by id, its start or its device", () => {
  expect(find("10.0.0.1:56001")).toEqual(["gpu-1", "gpu-2"]);
  expect(find("server/10.0.0.1:56002")).toEqual(["gpu-3"]);
  expect(find("10.0.0.9")).toEqual(["gpu-4"]);
  expect(find("rack-1")).toEqual(["gpu-1", "gpu-2"]);
  expect(find("GPU-aa22")).toEqual(["gpu-2"]);
  expect(find("gpu/GPU-b")).toEqual(["gpu-3"]);
  expect(find("gpu-4")).toEqual(["gpu-4"]);
  expect(find("GPU-aa22", "rack-1", "gpu-2")).toEqual(["gpu-1", "gpu-2"]);
});

test("findTargets() refuses what names nothing, or several servers or GPUs", () => {
  expect(() => find("GPU-cc")).toThrow(
    'Cannot find "GPU-cc" in the pool: expected the address, host or name of a server',
  );
  expect(() => find("gpu/rack-1")).toThrow('Cannot find "gpu/rack-1"');
  expect(() => find("GPU-aa")).toThrow(
    '"GPU-aa" may be gpu/GPU-aa11 on 10.0.0.1:56001 or gpu/GPU-aa22 on 10.0.0.1:56001: name one of them',
  );
  expect(() => find("10.0.0.1")).toThrow('"10.0.0.1" may be server/10.0.0.1:56001 or server/10.0.0.1:56002');
  expect(() => find("rack-2")).toThrow('"rack-2" may be server/10.0.0.1:56002 or gpu/rack-2 on 10.0.0.9:56001');
  expect(find("gpu/rack-2")).toEqual(["gpu-4"]);
});
