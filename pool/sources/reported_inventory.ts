import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import * as v from "valibot";
import { LABEL_VALUE } from "../../kubernetes/formats/label.ts";
import type { Logger } from "../../program/log/log.ts";
import { describeIssue } from "../../program/text/describe_issue.ts";
import { type Inventory as InventoryMessage, InventorySchema } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { DataPlane, Gpu, PoolServer, ServerFacts } from "../inventory.ts";
import { MAX_AMOUNT } from "../share.ts";

/** The inventory that a server reports. */
export type ReportedInventory = Required<Pick<PoolServer, "gpus" | "facts">>;

/** Why a part of a server's inventory is left out. */
export interface InventoryFault {
  /** Field, value and what is expected: `gpus.3.memoryMb is 0: expected …`. */
  readonly reason: string;
  /** Id of the GPU that is left out. Undefined if it is a fact of the server. */
  readonly gpu?: string;
}

/** The most GPUs that a server may report. The rest is left out. */
export const MAX_GPUS = 16_384;

/** The most faults of a server that are logged one by one in a {@link LOG_PERIOD}. */
const MAX_LOGGED = 20;

/** In ms. */
const LOG_PERIOD = 600_000;

/** Longest text that a server may report, in characters. */
const MAX_LENGTH = 256;
const EXPECTED_TEXT = `expected at most ${MAX_LENGTH} characters, none of them a control character`;
const EXPECTED_MEMORY = `expected a whole number of MB from 1 to ${MAX_AMOUNT}`;

const EXPECTED_LABEL = "expected the value of a label: at most 63 letters, digits, dashes, underscores and dots";

const Text = v.pipe(v.string(), v.maxLength(MAX_LENGTH, EXPECTED_TEXT), v.regex(/^\P{Cc}*$/u, EXPECTED_TEXT));

const ReportedGpu = v.object({
  id: v.pipe(Text, v.nonEmpty("expected an id")),
  model: Text,
  memoryMb: v.pipe(
    v.number(),
    v.safeInteger(EXPECTED_MEMORY),
    v.minValue(1, EXPECTED_MEMORY),
    v.maxValue(MAX_AMOUNT, EXPECTED_MEMORY),
  ),
  healthy: v.boolean(),
  problem: v.pipe(v.string(), v.regex(LABEL_VALUE, EXPECTED_LABEL)),
  isolation: Text,
});

const Facts = v.object({
  hostname: Text,
  hasRdma: v.boolean(),
  cudaVersion: Text,
  driverVersion: Text,
  dataPlane: v.optional(v.object({ name: Text, build: Text })),
});

/** An inventory, and the number of GPUs that its encoded form had. */
export interface DecodedInventory {
  readonly inventory: InventoryMessage;
  readonly gpus: number;
}

/**
 * Decodes an inventory with its first {@link MAX_GPUS} GPUs. The others are not decoded: an object of two bytes takes more than a hundred
 * then, and millions of them would fill the memory of the program. It overwrites the bytes.
 *
 * @throws {Error} if the bytes are no inventory.
 */
export function decodeInventory(bytes: Uint8Array): DecodedInventory {
  const reader = new BinaryReader(bytes);
  let gpus = 0;
  let length = 0;
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, type] = reader.tag();
    reader.skip(type, field);
    if (field === InventorySchema.field.gpus.number && ++gpus > MAX_GPUS) continue;
    bytes.copyWithin(length, start, reader.pos);
    length += reader.pos - start;
  }
  const inventory = fromBinary(InventorySchema, bytes.subarray(0, length), { readUnknownFields: false });
  return { inventory, gpus };
}

/**
 * Reads the inventory that a server reports. Nothing that a server reports can do harm elsewhere: a GPU that breaks the
 * schema is left out, and so is an invalid fact, which is then empty or absent. The rest stays.
 *
 * @param reportedCount number of GPUs that the server reported, if the message has lost some since
 */
export function readInventory(
  message: Partial<InventoryMessage> = {},
  reportedCount = message.gpus?.length ?? 0,
): {
  readonly reported: ReportedInventory;
  readonly faults: readonly InventoryFault[];
} {
  const faults: InventoryFault[] = [];
  const gpus: Gpu[] = [];
  const reportedGpus = message.gpus ?? [];
  if (reportedCount > MAX_GPUS) {
    faults.push({
      reason: `gpus has ${reportedCount} elements: expected at most ${MAX_GPUS}, the others are ignored`,
    });
  }
  for (const [index, reportedGpu] of reportedGpus.slice(0, MAX_GPUS).entries()) {
    const { id, model, memoryMb, healthy, problem = "", isolation = "" } = reportedGpu;
    const gpu = { id, model, memoryMb: Number(memoryMb), healthy };
    const { success, issues } = v.safeParse(ReportedGpu, { ...gpu, problem, isolation });
    if (success) gpus.push({ ...gpu, ...(problem ? { problem } : {}), ...(isolation ? { isolation } : {}) });
    else faults.push({ gpu: id.slice(0, MAX_LENGTH), reason: `gpus.${index}.${describeIssue(issues[0])}` });
  }
  const { hostname = "", hasRdma = false, cudaVersion = "", driverVersion = "", dataPlane } = message;
  const facts: ServerFacts = {
    hostname,
    hasRdma,
    cudaVersion,
    driverVersion,
    ...(dataPlane ? { dataPlane: { name: dataPlane.name, build: dataPlane.build } } : {}),
  };
  const { issues: invalid = [] } = v.safeParse(Facts, facts);
  for (const issue of invalid) {
    faults.push({ reason: describeIssue(issue) });
    const [fact = ""] = v.getDotPath(issue)?.split(".") ?? [];
    if (fact === "dataPlane") delete (facts as { dataPlane?: DataPlane }).dataPlane;
    else Object.assign(facts, { [fact]: "" });
  }
  return { reported: { gpus, facts }, faults };
}

/**
 * Creates a function that logs the faults of a server's inventory once, not again with each heartbeat. Of many faults, it logs the first
 * and the number of the others. It logs no more for some minutes then, however often the server changes what is wrong.
 */
export function createFaultLog(
  server: string,
  log: Logger,
  now: () => number = performance.now.bind(performance),
): (faults: readonly InventoryFault[]) => void {
  let known = new Set<string>();
  let start = now();
  let logged = 0;
  return (faults) => {
    if (now() - start >= LOG_PERIOD) [start, logged] = [now(), 0];
    const unknown = faults.filter(({ reason }) => !known.has(reason));
    known = new Set(faults.map(({ reason }) => reason));
    const single = unknown.slice(0, Math.max(0, MAX_LOGGED - logged));
    for (const { gpu, reason } of single) {
      if (gpu === undefined) log.warn("Part of a pool server's inventory ignored", { server, reason });
      else log.warn("GPU ignored", { server, gpu, reason });
    }
    const others = unknown.length - single.length;
    if (others > 0 && logged <= MAX_LOGGED) {
      log.warn("More of a pool server's inventory ignored", { server, faults: others });
      logged = MAX_LOGGED + 1;
    } else logged += single.length;
  };
}
