import { expect, test } from "bun:test";
import * as v from "valibot";
import { gpuMemory } from "./gpu_memory.ts";

test.each([
  ["16000", 16_000],
  ["1", 1],
  ["16G", 16_000],
  ["16Gi", 17_179],
  ["15109Mi", 15_842],
  ["1e10", 10_000],
])("gpuMemory() parses %s as %d MB", (text, memoryMb) => {
  expect(v.parse(gpuMemory(), text)).toBe(memoryMb);
});

test.each(["0", "0.5M", "-1G", "16GB", "16 G", "x", "", "99999999999999999999"])("gpuMemory() rejects %j", (text) => {
  const result = v.safeParse(gpuMemory(), text);
  expect(result.issues?.[0].message).toBe("expected the memory of one GPU: MB, or a quantity such as 16G");
});
