import { expect, test } from "bun:test";
import fc from "fast-check";
import { canHold, type FreeGpu } from "./feasibility.ts";
import { createSuitability, type GpuRequest } from "./gpu_request.ts";

function percent(count: number, units: number, filter?: string): GpuRequest {
  const filters = filter === undefined ? [] : [{ key: "device.name", value: filter }];
  return { count, units, share: { gpus: count, percent: units }, filters };
}

function memory(memoryMb: number, units: number): GpuRequest {
  return { count: 1, units, share: { gpus: 1, memoryMb }, filters: [] };
}

function gpus(count: number, free = 100, attributes: FreeGpu["attributes"] = { model: "T4", memoryMb: 16_000 }) {
  return Array.from({ length: count }, (): FreeGpu => ({ attributes, free }));
}

/** A request for GPUs of one server. */
function together(count: number, units: number, filter?: string): GpuRequest {
  return { ...percent(count, units, filter), oneServer: true };
}

/** The GPUs of a server, with these free units. */
function server(name: string, ...free: number[]): FreeGpu[] {
  return free.map((each) => ({ attributes: { model: "T4", memoryMb: 16_000, server: name }, free: each }));
}

/** Whether all requests fit, by trying every GPU for each slot of each request. */
function bruteForce(pool: readonly FreeGpu[], requests: readonly GpuRequest[]): boolean {
  const free = pool.map((gpu) => gpu.free);
  const place = (index: number, from: number, missing: number, used?: string): boolean => {
    const request = requests[index];
    if (!request) return true;
    if (missing === 0) return place(index + 1, 0, requests[index + 1]?.count ?? 0);
    for (let each = from; each < pool.length; each++) {
      const gpu = pool[each] as FreeGpu;
      if ((free[each] ?? 0) < request.units || !createSuitability(request)(gpu.attributes)) continue;
      if (request.oneServer && used !== undefined && gpu.attributes.server !== used) continue;
      free[each] = (free[each] ?? 0) - request.units;
      if (place(index, each + 1, missing - 1, gpu.attributes.server)) return true;
      free[each] = (free[each] ?? 0) + request.units;
    }
    return false;
  };
  return place(0, 0, requests[0]?.count ?? 0);
}

test.each<[description: string, pool: FreeGpu[], requests: GpuRequest[], expected: string]>([
  ["nothing in no pool", [], [], "yes"],
  ["three containers of 60 % on two GPUs", gpus(2), [percent(1, 60), percent(1, 60), percent(1, 60)], "no"],
  ["three containers of 60 % on three GPUs", gpus(3), [percent(1, 60), percent(1, 60), percent(1, 60)], "yes"],
  ["3 × 60 % twice on three GPUs", gpus(3), [percent(3, 60), percent(3, 60)], "no"],
  ["3 × 60 % and 3 × 40 % on three GPUs", gpus(3), [percent(3, 40), percent(3, 60)], "yes"],
  ["more different GPUs than there are", gpus(2), [percent(3, 1)], "no"],
  [
    "a placement that is not the first that comes to mind",
    [...gpus(1, 50), ...gpus(1, 60)],
    [percent(1, 30), percent(1, 30), percent(1, 50)],
    "yes",
  ],
  ["two models", [...gpus(1), ...gpus(1, 100, { model: "A100" })], [percent(1, 80, "A100"), percent(1, 80)], "yes"],
  [
    "two on one model",
    [...gpus(1), ...gpus(1, 100, { model: "A100" })],
    [percent(1, 80, "A100"), percent(1, 30, "A100")],
    "no",
  ],
  ["memory that the units of a small GPU do not have", gpus(1, 100, { memoryMb: 8000 }), [memory(8000, 50)], "no"],
  [
    "memory that the units of a large GPU have",
    gpus(1, 100, { memoryMb: 32_000 }),
    [memory(8000, 50), memory(8000, 50)],
    "yes",
  ],
  ["units that no GPU has", gpus(2), [percent(1, 101), percent(1, 1)], "no"],
  ["a held pool", gpus(3, 0), [percent(1, 1)], "no"],
  ["two GPUs of one server, which has both", [...server("a", 100), ...server("b", 60, 60)], [together(2, 60)], "yes"],
  ["two GPUs of one server, but each has one", [...server("a", 100), ...server("b", 100, 50)], [together(2, 60)], "no"],
  ["one GPU of one server", [...server("a", 100), ...server("b", 100)], [together(1, 100), together(1, 100)], "yes"],
  [
    "two GPUs of one server twice, of which only one server has two",
    [...server("a", 100, 100), ...server("b", 100), ...server("c", 100)],
    [together(2, 60), together(2, 60)],
    "no",
  ],
  [
    "GPUs of one server that another request could take elsewhere",
    [...server("a", 60, 60), ...server("b", 60)],
    [together(2, 60), percent(1, 60)],
    "yes",
  ],
])("canHold() decides about %s", (_, pool, requests, expected) => {
  expect(canHold(pool, requests)).toBe(expected as never);
});

const models = ["T4", "A100"];
const pools = fc.array(
  fc.record({
    attributes: fc.record({
      model: fc.constantFrom(...models),
      memoryMb: fc.constantFrom(8000, 16_000, 24_000),
      server: fc.constantFrom("a", "b", "c"),
    }),
    free: fc.oneof(fc.integer({ min: 0, max: 100 }), fc.constantFrom(0, 40, 50, 60, 100)),
  }),
  { maxLength: 5 },
);
const units = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constantFrom(20, 30, 40, 50, 60));
const requestLists = fc.array(
  fc.oneof(
    fc
      .tuple(fc.integer({ min: 1, max: 4 }), units, fc.option(fc.constantFrom(...models), { nil: undefined }))
      .map((parts) => percent(...parts)),
    fc.tuple(fc.integer({ min: 1, max: 3 }), units).map((parts) => together(...parts)),
    fc.tuple(fc.constantFrom(4000, 8000, 12_000), fc.integer({ min: 25, max: 100 })).map((parts) => memory(...parts)),
  ),
  { maxLength: 5 },
);
/** Servers of which many are equal, and requests for GPUs of one server. */
const alike = fc.record({
  pool: fc
    .array(fc.array(fc.constantFrom(60, 100), { minLength: 1, maxLength: 2 }), { minLength: 2, maxLength: 5 })
    .map((servers) => servers.flatMap((free, index) => server(`server-${index}`, ...free))),
  requests: fc.array(
    fc.tuple(fc.integer({ min: 1, max: 2 }), fc.constantFrom(30, 50, 60)).map((parts) => together(...parts)),
    { minLength: 2, maxLength: 5 },
  ),
});

test("canHold() agrees with trying everything", () => {
  const answers = { yes: 0, no: 0, maybe: 0 };
  fc.assert(
    fc.property(pools, requestLists, (pool, requests) => {
      const answer = canHold(pool, requests);
      answers[answer]++;
      expect(answer).toBe(bruteForce(pool, requests) ? "yes" : "no");
    }),
    { numRuns: 3000 },
  );
  expect(Math.min(answers.yes, answers.no)).toBeGreaterThan(300); // otherwise the cases are too simple for this test
});

test("canHold() agrees with trying everything on servers of which many are equal", () => {
  const answers = { yes: 0, no: 0, maybe: 0 };
  fc.assert(
    fc.property(alike, ({ pool, requests }) => {
      const answer = canHold(pool, requests);
      answers[answer]++;
      expect(answer).toBe(bruteForce(pool, requests) ? "yes" : "no");
    }),
    { numRuns: 500 },
  );
  expect(Math.min(answers.yes, answers.no)).toBeGreaterThan(50);
});

/** 10,000 GPUs of ten models with 0 to 100 free units. */
const LARGE = Array.from(
  { length: 10_000 },
  (_, index): FreeGpu => ({
    attributes: {
      model: `model-${index % 10}`,
      memoryMb: 16_000 + (index % 7) * 1000,
      server: `server-${Math.floor(index / 8)}`,
    },
    free: (index * 37) % 101,
  }),
);
const CONTAINERS = Array.from({ length: 16 }, (_, index) => index);

test.each<[description: string, requests: GpuRequest[], expected: string]>([
  ["16 shares of 32 GPUs", CONTAINERS.map((index) => percent(32, 20 + 5 * index)), "yes"],
  ["more GPUs than a server has", [together(9, 1), percent(1, 1)], "no"],
  ["16 memory shares", CONTAINERS.map((index) => memory(1000 * (index + 1), 7 * (index + 1))), "no"],
  [
    "16 shares of a model that are too many",
    CONTAINERS.map((index) => percent(32, 90 + (index % 10), "model-3")),
    "no",
  ],
])("canHold() decides about %s of 10,000 GPUs with half of the work that it may do", (_, requests, expected) => {
  expect(canHold(LARGE, requests, { maxWork: 50_000 })).toBe(expected as never);
});

test.each<[servers: number, expected: string]>([
  [1250, "yes"],
  [16, "yes"],
  [15, "no"],
])("canHold() decides about 16 shares of 2 GPUs of one server on %d equal servers of 3 GPUs", (count, expected) => {
  const pool = Array.from({ length: count }, (_, index) => server(`server-${index}`, 100, 100, 100)).flat();
  expect(
    canHold(
      pool,
      CONTAINERS.map(() => together(2, 60)),
    ),
  ).toBe(expected as never);
});

test("canHold() does not try a state again that failed", () => {
  const large = Array.from({ length: 16 }, (_, index) => percent(1, 34 + (index % 4)));
  const small = Array.from({ length: 12 }, (_, index) => percent(1, 3 + (index % 3)));
  expect(canHold(gpus(7), [...large, ...small])).toBe("no"); // two of the large ones fit on a GPU; without a memory of states, it gives up
});

test("canHold() gives up a search that takes too long", () => {
  const requests = Array.from({ length: 22 }, (_, index) => percent(1, 21 + index));
  expect(canHold(gpus(7), requests, { maxWork: 20_000 })).toBe("maybe"); // they fit, if they fill 7 units less than everything
});

test("canHold() gives up requests for too many GPUs or of too many kinds, unless one alone does not fit", () => {
  const many = Array.from({ length: 200 }, () => percent(32, 1));
  expect(canHold(LARGE, many)).toBe("maybe");
  const kinds = Array.from({ length: 40 }, (_, index) => percent(1, index + 1));
  expect(canHold(LARGE, kinds)).toBe("maybe");
  expect(canHold(LARGE, [...kinds, percent(1, 50, "none")])).toBe("no");
});
