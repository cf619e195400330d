import { expect, test } from "bun:test";
import { isolationOf } from "./isolation.ts";

const MIG = { instance: { gpuInstance: 1, computeInstance: 0 } };

test("isolationOf() returns what the limiter limits, but mig for MIG devices", () => {
  expect(isolationOf({}, undefined)).toBe("none");
  expect(isolationOf({}, "memory")).toBe("memory");
  expect(isolationOf({}, "memory-and-compute")).toBe("memory-and-compute");
  expect(isolationOf(MIG, undefined)).toBe("mig");
  expect(isolationOf(MIG, "memory")).toBe("mig");
});
