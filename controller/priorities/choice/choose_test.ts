import { expect, test } from "bun:test";
import fc from "fast-check";
import { canHold } from "../../../pool/requests/feasibility.ts";
import type { GpuRequest } from "../../../pool/requests/gpu_request.ts";
import { type Choice, chooseVictims } from "./choose.ts";
import { createHolderIndex } from "./holder_index.ts";
import type { KeyedGpu } from "./places.ts";
import { compareVictims, type Holder } from "./rank.ts";

function request(units: number, count = 1, changes: Partial<GpuRequest> = {}): GpuRequest {
  return { count, units, share: { gpus: count, percent: units }, filters: [], ...changes };
}

interface HolderOptions {
  priority?: number;
  startedAt?: number;
  pods?: number;
}

function holder(shares: Record<string, number>, options: HolderOptions = {}): Holder {
  const { priority = 0, startedAt = 0, pods = 1 } = options;
  const list = Array.from({ length: pods }, (_, index) => ({ uid: `${index}`, priority }));
  return { pods: list, priority, startedAt, shares: new Map(Object.entries(shares)) };
}

/** GPUs with what the holders leave of them. Two of them are of one server. */
function gpusWith(count: number, holders: readonly Holder[], model = (_: number) => "T4"): KeyedGpu[] {
  return Array.from({ length: count }, (_, index) => {
    const key = `g${index}`;
    const held = holders.reduce((sum, { shares }) => sum + (shares.get(key) ?? 0), 0);
    const attributes = { memoryMb: 16_000, server: `s${Math.floor(index / 2)}`, model: model(index) };
    return { key, attributes, free: 100 - held };
  });
}

function choose(requests: readonly GpuRequest[], count: number, holders: readonly Holder[], priority = 10) {
  return chooseVictims({ priority, requests }, gpusWith(count, holders), createHolderIndex(holders))?.victims;
}

test("chooseVictims() evicts nobody for a pod that fits, and for one that does not fit without all pods of lower priority", () => {
  const [low, equal] = [holder({ g0: 40 }), holder({ g0: 40 }, { priority: 10 })];
  expect(choose([request(20)], 1, [low, equal])).toEqual([]);
  expect(choose([request(60)], 1, [low, equal])).toEqual([low]);
  expect(choose([request(61)], 1, [low, equal])).toBeUndefined();
  expect(choose([request(60)], 1, [low, equal], 0)).toBeUndefined();
});

test("chooseVictims() prefers the lowest highest priority, then fewer pods, then those that started last", () => {
  const old = holder({ g0: 100 }, { startedAt: 1 });
  const young = holder({ g1: 100 }, { startedAt: 2 });
  const important = holder({ g2: 50 }, { priority: 5, startedAt: 3 });
  const [half, otherHalf] = [holder({ g3: 50 }, { startedAt: 9 }), holder({ g3: 50 }, { startedAt: 9 })];
  const all = [old, young, important, half, otherHalf];
  expect(choose([request(100)], 4, all)).toEqual([young]);
  expect(
    choose([request(100)], 4, [important, half, otherHalf, holder({ g0: 100, g1: 100 }, { priority: 6 })]),
  ).toEqual([half, otherHalf]);
});

test("chooseVictims() evicts one large share rather than two small ones on the same GPU", () => {
  const small = [holder({ g0: 30 }), holder({ g0: 30 })];
  const large = holder({ g0: 40 }, { startedAt: -1 });
  expect(choose([request(40)], 1, [...small, large])).toEqual([large]);
});

test("chooseVictims() counts pods that must be evicted together", () => {
  const pair = holder({ g0: 100 }, { pods: 2, startedAt: 1 });
  const single = holder({ g1: 100 });
  expect(choose([request(100)], 2, [pair, single])).toEqual([single]);
});

test("chooseVictims() makes room on several GPUs by one pod that holds all of them", () => {
  const both = holder({ g2: 100, g3: 100 });
  const singles = ["g0", "g1", "g4", "g5"].map((key) => holder({ [key]: 100 }, { startedAt: 5 }));
  expect(choose([request(100, 2)], 6, [...singles, both])).toEqual([both]);
  expect(choose([request(100, 2, { oneServer: true })], 6, [...singles, both])).toEqual([both]);
});

test("chooseVictims() makes room on GPUs of one server where a request needs that", () => {
  const holders = [holder({ g0: 100 }), holder({ g1: 100 }, { priority: 5 }), holder({ g2: 100 }), holder({ g3: 60 })];
  expect(choose([request(50, 2, { oneServer: true })], 4, holders)).toEqual(
    [holders[3], holders[2]].reverse() as never,
  );
  expect(choose([request(50, 2, { oneServer: true })], 4, [holders[0] as Holder])).toEqual([]);
});

test("chooseVictims() evicts only from GPUs that suit the request", () => {
  const holders = [holder({ g0: 100 }), holder({ g1: 100 }, { priority: 5 })];
  const gpus = gpusWith(2, holders, (index) => (index === 1 ? "A100" : "T4"));
  const filters = [{ key: "device.name", value: "A100" }];
  const chosen = chooseVictims(
    { priority: 10, requests: [request(10, 1, { filters })] },
    gpus,
    createHolderIndex(holders),
  );
  expect(chosen?.victims).toEqual([holders[1] as Holder]);
  const memory = request(50, 1, { share: { gpus: 1, memoryMb: 20_000 } });
  expect(chooseVictims({ priority: 10, requests: [memory] }, gpus, createHolderIndex(holders))).toBeUndefined();
});

test("chooseVictims() says which units the pod will get", () => {
  const holders = [holder({ g0: 100 }), holder({ g1: 50 }, { priority: 20 })];
  const demand = { priority: 10, requests: [request(60), request(50)] };
  expect(chooseVictims(demand, gpusWith(2, holders), createHolderIndex(holders))).toEqual({
    victims: [holders[0] as Holder],
    taken: new Map([
      ["g0", 60],
      ["g1", 50],
    ]),
  });
});

const GPUS = 4;

/** Holders whose units fit on the GPUs. */
const holdersArbitrary = fc
  .array(
    fc.record({
      gpus: fc.uniqueArray(fc.integer({ min: 0, max: GPUS - 1 }), { minLength: 1, maxLength: 2 }),
      units: fc.constantFrom(10, 30, 50, 100),
      priority: fc.constantFrom(-5, 0, 0, 5, 10),
      startedAt: fc.integer({ min: 0, max: 3 }),
    }),
    { maxLength: 9 },
  )
  .map((wanted) => {
    const free = Array.from({ length: GPUS }, () => 100);
    return wanted.flatMap(({ gpus, units, ...options }) => {
      if (gpus.some((gpu) => (free[gpu] ?? 0) < units)) return [];
      for (const gpu of gpus) free[gpu] = (free[gpu] ?? 0) - units;
      return holder(Object.fromEntries(gpus.map((gpu) => [`g${gpu}`, units])), options);
    });
  });
const requestArbitrary = fc
  .record({ units: fc.constantFrom(10, 40, 60, 100), count: fc.constantFrom(1, 1, 2, 3), oneServer: fc.boolean() })
  .map(({ units, count, oneServer }) => request(units, count, { oneServer }));
const caseArbitrary = fc.record({
  holders: holdersArbitrary,
  requests: fc.array(requestArbitrary, { minLength: 1, maxLength: 3 }),
  priority: fc.constantFrom(-5, 0, 5, 10),
});

/** Whether the requests fit without these holders. */
function fitsWithout(
  victims: readonly Holder[],
  { holders, requests }: { holders: readonly Holder[]; requests: readonly GpuRequest[] },
) {
  const rest = holders.filter((each) => !victims.includes(each));
  return canHold(gpusWith(GPUS, rest), requests);
}

test("chooseVictims() chooses pods of lower priority whose eviction makes room, and no more than needed", () => {
  fc.assert(
    fc.property(caseArbitrary, ({ holders, requests, priority }) => {
      const choice = chooseVictims({ priority, requests }, gpusWith(GPUS, holders), createHolderIndex(holders));
      const lower = holders.filter((each) => each.priority < priority);
      if (!choice) {
        expect(fitsWithout(lower, { holders, requests })).toBe("no");
        return;
      }
      const { victims } = choice;
      expect(victims.every((victim) => lower.includes(victim))).toBe(true);
      expect(fitsWithout(victims, { holders, requests })).toBe("yes");
      for (const victim of victims) {
        expect(
          fitsWithout(
            victims.filter((each) => each !== victim),
            { holders, requests },
          ),
        ).toBe("no");
      }
      if (fitsWithout([], { holders, requests }) === "yes") expect(victims).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

/** The best of all sets of victims. */
function bestOfAll(
  priority: number,
  all: { holders: readonly Holder[]; requests: readonly GpuRequest[] },
): readonly Holder[] | undefined {
  const lower = all.holders.filter((each) => each.priority < priority);
  let best: readonly Holder[] | undefined;
  for (let bits = 0; bits < 1 << lower.length; bits++) {
    const victims = lower.filter((_, index) => bits & (1 << index));
    if (best && compareVictims(victims, best) >= 0) continue;
    if (fitsWithout(victims, all) === "yes") best = victims;
  }
  return best;
}

test("chooseVictims() makes the best of all choices for one GPU", () => {
  fc.assert(
    fc.property(caseArbitrary, ({ holders, requests, priority }) => {
      const all = { holders, requests: [{ ...(requests[0] as GpuRequest), count: 1 }] };
      const { victims } =
        chooseVictims({ priority, requests: all.requests }, gpusWith(GPUS, holders), createHolderIndex(holders)) ?? {};
      const best = bestOfAll(priority, all);
      if (!best || !victims) expect(victims).toEqual(best as never);
      else expect(compareVictims(victims, best)).toBe(0);
    }),
    { numRuns: 100 },
  );
});

test("chooseVictims() takes no unit twice", () => {
  fc.assert(
    fc.property(caseArbitrary, ({ holders, requests, priority }) => {
      const gpus = gpusWith(GPUS, holders);
      const choice: Choice | undefined = chooseVictims({ priority, requests }, gpus, createHolderIndex(holders));
      for (const { key, free } of gpus) {
        const released = choice?.victims.reduce((sum, { shares }) => sum + (shares.get(key) ?? 0), 0) ?? 0;
        expect(choice?.taken.get(key) ?? 0).toBeLessThanOrEqual(free + released);
      }
    }),
    { numRuns: 100 },
  );
});
