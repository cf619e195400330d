import { expect, test } from "bun:test";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { InventorySchema } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { UNITS_PER_GPU, unitsPerGpu } from "../units.ts";
import { createFaultLog, decodeInventory, readInventory } from "./reported_inventory.ts";

const GPU = {
  $typeName: "bitfusion.pool.v1.Gpu",
  id: "a",
  model: "Tesla T4",
  memoryMb: 16_000n,
  healthy: true,
  problem: "",
  isolation: "",
} as const;
const LONG = "x".repeat(257);

test.each<[description: string, changes: Partial<Record<keyof typeof GPU, unknown>>, reason: string]>([
  ["no memory", { memoryMb: 0n }, "memoryMb is 0: expected a whole number of MB from 1 to 999999999"],
  ["2^64-1 MB, which is -1 in an int64", { memoryMb: -1n }, "memoryMb is -1: expected a whole number of MB from 1"],
  ["2^63-1 MB", { memoryMb: 2n ** 63n - 1n }, "memoryMb is 9223372036854776000: expected a whole number of MB from 1"],
  ["an empty id", { id: "" }, 'id is "": expected an id'],
  [
    "an id of absurd length",
    { id: LONG },
    `id is "${"x".repeat(199)}… (259 characters): expected at most 256 characters`,
  ],
  ["a model of absurd length", { model: LONG }, `model is "${"x".repeat(199)}… (259 characters): expected at most 256`],
  [
    "a problem that is no label",
    { problem: "Xid 79" },
    'problem is "Xid 79": expected the value of a label: at most 63',
  ],
  ["an isolation of absurd length", { isolation: LONG }, 'isolation is "xxx'],
  ["a control character in its model", { model: "T4\n" }, 'model is "T4\\n": expected at most 256 characters, none of'],
])("readInventory() leaves out a GPU with %s, names it, and keeps its siblings", (_, changes, reason) => {
  const { reported, faults } = readInventory({ gpus: [{ ...GPU, ...changes } as never, { ...GPU, id: "b" }] });
  expect(reported.gpus).toEqual([{ id: "b", model: "Tesla T4", memoryMb: 16_000, healthy: true }]);
  expect(faults).toHaveLength(1);
  expect(faults[0]?.gpu).toBe(String(changes.id ?? "a").slice(0, 256));
  expect(faults[0]?.reason).toStartWith(`gpus.0.${reason}`);
});

test("readInventory() returns why a GPU is not healthy", () => {
  const { reported, faults } = readInventory({ gpus: [{ ...GPU, healthy: false, problem: "xid-79" }] });
  expect(faults).toEqual([]);
  expect(reported.gpus).toMatchObject([{ healthy: false, problem: "xid-79" }]);
});

test("readInventory() returns the data plane of a server and the isolation of its GPUs", () => {
  const dataPlane = { $typeName: "bitfusion.pool.v1.DataPlane", name: "lupine", build: "0.9" } as const;
  const { reported, faults } = readInventory({ dataPlane, gpus: [{ ...GPU, isolation: "mig" }] });
  expect(faults).toEqual([]);
  expect(reported.facts.dataPlane).toEqual({ name: "lupine", build: "0.9" });
  expect(reported.gpus).toMatchObject([{ isolation: "mig" }]);
  const broken = readInventory({ dataPlane: { ...dataPlane, build: LONG }, gpus: [GPU] });
  expect(broken.faults.map(({ reason }) => reason.split(" ")[0])).toEqual(["dataPlane.build"]);
  expect(broken.reported.facts).not.toHaveProperty("dataPlane");
  expect(broken.reported.gpus).toHaveLength(1);
});

test("readInventory() leaves out a fact of absurd length, and keeps the others", () => {
  const facts = { hostname: LONG, hasRdma: true, cudaVersion: "12.4", driverVersion: "550\0" };
  const { reported, faults } = readInventory({ ...facts, gpus: [GPU] });
  expect(reported.facts).toEqual({ hostname: "", hasRdma: true, cudaVersion: "12.4", driverVersion: "" });
  expect(reported.gpus).toHaveLength(1);
  expect(faults.map(({ reason }) => reason.split(" ")[0])).toEqual(["hostname", "driverVersion"]);
});

test("readInventory() returns GPUs on which every share has whole units, whatever a server reports", () => {
  const gpu = fc.record({ id: fc.string(), model: fc.string(), memoryMb: fc.bigInt(), healthy: fc.boolean() });
  fc.assert(
    fc.property(fc.array(gpu, { maxLength: 4 }), fc.integer({ min: 1, max: 999_999_999 }), (gpus, memoryMb) => {
      const { reported, faults } = readInventory({ gpus: gpus.map((each) => ({ ...GPU, ...each })) });
      expect(reported.gpus.length + faults.length).toBe(gpus.length);
      for (const each of reported.gpus) {
        expect(unitsPerGpu({ gpus: 1, memoryMb }, each.memoryMb)).toBeInteger();
        expect(unitsPerGpu({ gpus: 1, memoryMb: each.memoryMb }, each.memoryMb)).toBe(UNITS_PER_GPU);
      }
    }),
  );
});

test("createFaultLog() logs a fault once, and again when it returns", () => {
  const lines: unknown[] = [];
  const log = { warn: (message: string, properties: object) => lines.push({ message, ...properties }) };
  const logFaults = createFaultLog("pool-a:1", log as never);
  const faults = [{ gpu: "a", reason: "gpus.0.memoryMb is 0" }, { reason: "hostname is long" }];
  for (const round of [faults, faults, [], faults.slice(0, 1)]) logFaults(round);
  expect(lines).toEqual([
    { message: "GPU ignored", server: "pool-a:1", gpu: "a", reason: "gpus.0.memoryMb is 0" },
    { message: "Part of a pool server's inventory ignored", server: "pool-a:1", reason: "hostname is long" },
    { message: "GPU ignored", server: "pool-a:1", gpu: "a", reason: "gpus.0.memoryMb is 0" },
  ]);
});

test("readInventory() takes 16,384 GPUs of a server at most", () => {
  const gpus = Array.from({ length: 20_000 }, (_, index) => ({ ...GPU, id: String(index) }));
  const { reported, faults } = readInventory({ gpus });
  expect(reported.gpus).toHaveLength(16_384);
  expect(faults).toEqual([{ reason: "gpus has 20000 elements: expected at most 16384, the others are ignored" }]);
});

test("decodeInventory() decodes 16,384 GPUs at most, and counts them all", () => {
  const gpus = Array.from({ length: 16_385 }, (_, index) => ({ id: String(index) }));
  const bytes = toBinary(InventorySchema, create(InventorySchema, { hostname: "a", gpus, driverVersion: "550" }));
  const decoded = decodeInventory(bytes);
  expect(decoded.gpus).toBe(16_385);
  expect(decoded.inventory).toMatchObject({ hostname: "a", driverVersion: "550" });
  expect(decoded.inventory.gpus.map(({ id }) => id)).toEqual(gpus.slice(0, 16_384).map(({ id }) => id));
});

test("decodeInventory() reads every inventory as protobuf does", () => {
  const gpu = fc.record({
    id: fc.string(),
    model: fc.string(),
    memoryMb: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    healthy: fc.boolean(),
  });
  const inventories = fc.record({
    hostname: fc.string(),
    gpus: fc.array(gpu, { maxLength: 4 }),
    hasRdma: fc.boolean(),
  });
  fc.assert(
    fc.property(inventories, (inventory) => {
      const message = create(InventorySchema, inventory);
      expect(decodeInventory(toBinary(InventorySchema, message)).inventory).toEqual(message);
    }),
  );
});

test("createFaultLog() logs 20 faults in ten minutes, however often a server changes what is wrong", () => {
  const lines: string[] = [];
  let now = 0;
  const warn = (message: string, { reason, faults }: { reason?: string; faults?: number }) =>
    lines.push(`${message}: ${reason ?? faults}`);
  const logFaults = createFaultLog("pool-a:1", { warn } as never, () => now);
  for (let count = 0; count < 1000; count += 1) logFaults([{ gpu: "a", reason: `gpus.0.memoryMb is ${-count}` }]);
  expect(lines.slice(19)).toEqual([
    "GPU ignored: gpus.0.memoryMb is -19",
    "More of a pool server's inventory ignored: 1",
  ]);
  now = 600_000;
  logFaults([{ gpu: "a", reason: "gpus.0.memoryMb is 0" }]);
  expect(lines.slice(21)).toEqual(["GPU ignored: gpus.0.memoryMb is 0"]);
});

test("createFaultLog() logs the first of many faults, and the number of the others", () => {
  const lines: string[] = [];
  const warn = (message: string, { faults }: { faults?: number }) => lines.push(`${message} ${faults ?? ""}`);
  const faults = Array.from({ length: 5000 }, (_, index) => ({ gpu: "a", reason: `gpus.${index}.memoryMb is 0` }));
  createFaultLog("pool-a:1", { warn } as never)(faults);
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe("More of a pool server's inventory ignored 4980");
});
