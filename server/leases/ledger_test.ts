import { expect, test } from "bun:test";
import * as fc from "fast-check";
import type { Gpu } from "../../pool/inventory.ts";
import type { Share } from "../../pool/share.ts";
import { type ClaimResult, createLedger, type Lease, type LeaseClaim, type Ledger } from "./ledger.ts";

const HOLDER = { client: "cluster-a", isPod: false };
const OWNER = { namespace: "default", pod: "a", container: "main" };

function gpu(id: string, { memoryMb = 16_000, healthy = true }: Partial<Gpu> = {}): Gpu {
  return { id, model: "Tesla T4", memoryMb, healthy };
}

/** Creates a ledger with a clock that only tests advance. Lease ids are 1, 2 and so on. */
function ledgerOf(...gpus: Gpu[]): Ledger & { clock: { time: number } } {
  const clock = { time: 1_000_000 };
  let id = 0;
  const newId = () => String(++id);
  const newSecret = () => `secret ${id}`;
  return {
    ...createLedger({ gpus: () => gpus, timeToLive: () => 1000, now: () => clock.time, newId, newSecret }),
    clock,
  };
}

function claim(ledger: Ledger, share: Share, matches: (gpu: Gpu) => boolean = () => true): ClaimResult {
  return ledger.claim({ holder: HOLDER, owner: OWNER, share, matches });
}

/** Claims a share and returns the lease. @throws {Error} when the ledger refuses. */
function grant(ledger: Ledger, share: Share, matches?: LeaseClaim["matches"]): Lease {
  const result = claim(ledger, share, matches);
  if ("lease" in result) return result.lease;
  throw new Error(`Refused: ${JSON.stringify(result)}`);
}

function sharesOf(lease: Lease): [string, number][] {
  return lease.gpus.map(({ gpuId, units }) => [gpuId, units]);
}

test("claim() returns a lease with owner, GPUs and times", () => {
  const ledger = ledgerOf(gpu("a"));
  expect(grant(ledger, { gpus: 1, percent: 30 })).toEqual({
    id: "1",
    holder: HOLDER,
    secret: "secret 1",
    owner: OWNER,
    gpus: [{ gpuId: "a", units: 30 }],
    grantedAt: 1_000_000,
    expiresAt: 1_001_000,
  });
});

test("claim() grants up to 100 percent of a GPU", () => {
  const ledger = ledgerOf(gpu("a"));
  grant(ledger, { gpus: 1, percent: 60 });
  expect(claim(ledger, { gpus: 1, percent: 41 })).toEqual({ availableGpus: 0, capableGpus: 1 });
  grant(ledger, { gpus: 1, percent: 40 });
  expect(claim(ledger, { gpus: 1, percent: 1 })).toEqual({ availableGpus: 0, capableGpus: 1 });
});

test("claim() takes different GPUs, all or nothing", () => {
  const ledger = ledgerOf(gpu("a"), gpu("b"));
  expect(
    sharesOf(grant(ledger, { gpus: 2, percent: 50 }))
      .map(([id]) => id)
      .toSorted(),
  ).toEqual(["a", "b"]);
  grant(ledger, { gpus: 1, percent: 50 });
  expect(claim(ledger, { gpus: 2, percent: 50 })).toEqual({ availableGpus: 1, capableGpus: 2 });
  expect(ledger.leases()).toHaveLength(2);
});

test("claim() takes the fullest GPU that fits", () => {
  const ledger = ledgerOf(gpu("a"), gpu("b"), gpu("c"));
  grant(ledger, { gpus: 1, percent: 30 }, ({ id }) => id === "b");
  grant(ledger, { gpus: 1, percent: 80 }, ({ id }) => id === "c");
  expect(sharesOf(grant(ledger, { gpus: 1, percent: 20 }))).toEqual([["c", 20]]);
  expect(sharesOf(grant(ledger, { gpus: 1, percent: 20 }))).toEqual([["b", 20]]);
  expect(sharesOf(grant(ledger, { gpus: 1, percent: 100 }))).toEqual([["a", 100]]);
});

test("claim() skips GPUs that are not healthy or do not match", () => {
  const ledger = ledgerOf(gpu("a", { healthy: false }), gpu("b"), gpu("c"));
  const notB = ({ id }: Gpu) => id !== "b";
  expect(claim(ledger, { gpus: 2, percent: 1 }, notB)).toEqual({ availableGpus: 1, capableGpus: 1 });
  expect(sharesOf(grant(ledger, { gpus: 1, percent: 1 }, notB))).toEqual([["c", 1]]);
});

test("claim() rounds memory up to whole percents, and counts a GPU with less memory as not capable", () => {
  const ledger = ledgerOf(gpu("small", { memoryMb: 4000 }), gpu("large"));
  expect(claim(ledger, { gpus: 2, memoryMb: 4001 })).toEqual({ availableGpus: 1, capableGpus: 1 });
  expect(sharesOf(grant(ledger, { gpus: 1, memoryMb: 4001 }))).toEqual([["large", 26]]);
  expect(sharesOf(grant(ledger, { gpus: 2, memoryMb: 1120 }))).toEqual([
    ["large", 7],
    ["small", 28],
  ]);
});

test("claim() returns the same lease, renewed, to a repeated request, until it ends", () => {
  const ledger = ledgerOf(gpu("a"));
  const request = { holder: HOLDER, owner: OWNER, share: { gpus: 1, percent: 60 }, request: "1" };
  const lease = expect.objectContaining({ id: "1", grantedAt: 1_000_000 });
  expect(ledger.claim(request)).toEqual({ lease, repeated: false });
  ledger.clock.time += 999;
  expect(ledger.claim(request)).toEqual({ lease, repeated: true });
  expect(ledger.claim({ ...request, request: "2" })).toEqual({ availableGpus: 0, capableGpus: 1 });
  ledger.clock.time += 999;
  expect(ledger.expire()).toEqual([]);
  ledger.release("1");
  expect(ledger.claim(request)).toMatchObject({ lease: { id: "2" }, repeated: false });
  expect(ledger.leases()).toHaveLength(1);
});

test("claim() refuses more units than a holder may have, whatever others have", () => {
  const ledger = ledgerOf(gpu("a"), gpu("b"), gpu("c"), gpu("d"));
  const pods = { client: "cluster-a", isPod: true };
  const claimUnits = (gpus: number, percent: number, holder = pods) =>
    ledger.claim({ holder, owner: OWNER, share: { gpus, percent }, maxUnits: 100 });
  expect(claimUnits(1, 40, HOLDER)).toHaveProperty("lease");
  expect(claimUnits(1, 40, { ...pods, client: "cluster-b" })).toHaveProperty("lease");
  expect(claimUnits(1, 60)).toHaveProperty("lease");
  expect(claimUnits(1, 41)).toEqual({ availableGpus: 0, capableGpus: 2 });
  expect(claimUnits(2, 40)).toEqual({ availableGpus: 1, capableGpus: 2 });
  expect(claimUnits(2, 60)).toEqual({ availableGpus: 0, capableGpus: 1 });
  expect(claimUnits(1, 40)).toHaveProperty("lease");
});

test("end() ends the leases that match, and returns them", () => {
  const ledger = ledgerOf(gpu("a"));
  const [first, second] = [grant(ledger, { gpus: 1, percent: 10 }), grant(ledger, { gpus: 1, percent: 20 })];
  expect(ledger.end(({ id }) => id === first.id)).toEqual([first]);
  expect([ledger.get(first.id), ledger.get(second.id)]).toEqual([undefined, second]);
  expect(ledger.end(({ id }) => id === first.id)).toEqual([]);
});

test("release() ends a lease once and frees its GPUs", () => {
  const ledger = ledgerOf(gpu("a"));
  const lease = grant(ledger, { gpus: 1, percent: 100 });
  expect(ledger.release(lease.id)).toEqual(lease);
  expect(ledger.release(lease.id)).toBeUndefined();
  expect(ledger.release("unknown")).toBeUndefined();
  grant(ledger, { gpus: 1, percent: 100 });
});

test("expire() ends leases that were not renewed in time, which then cannot be renewed", () => {
  const ledger = ledgerOf(gpu("a"));
  const lease = grant(ledger, { gpus: 1, percent: 100 });
  ledger.clock.time += 999;
  expect(ledger.expire()).toEqual([]);
  ledger.clock.time += 1;
  expect(ledger.expire()).toEqual([lease]);
  expect(ledger.expire()).toEqual([]);
  expect(ledger.leases()).toEqual([]);
  expect(ledger.renew(lease.id)).toBeUndefined();
  grant(ledger, { gpus: 1, percent: 100 });
});

test("restore() takes over a lease, which then counts, is renewed and expires like any other", () => {
  const ledger = ledgerOf(gpu("a"));
  const { expiresAt: _, ...stored } = grant(ledgerOf(gpu("a")), { gpus: 1, percent: 60 });
  ledger.restore({ ...stored, id: "earlier", grantedAt: -5000, request: "r" });
  expect(ledger.leases()).toMatchObject([
    { id: "earlier", secret: "secret 1", grantedAt: -5000, expiresAt: 1_001_000 },
  ]);
  expect(claim(ledger, { gpus: 1, percent: 41 })).toEqual({ availableGpus: 0, capableGpus: 1 });
  const share = { gpus: 1, percent: 60 };
  expect(ledger.claim({ holder: HOLDER, owner: OWNER, share, request: "r" })).toMatchObject({ repeated: true });
  ledger.clock.time += 1000;
  expect(ledger.expire().map(({ id }) => id)).toEqual(["earlier"]);
});

test("renew() changes only the expiry", () => {
  const ledger = ledgerOf(gpu("a"));
  const lease = grant(ledger, { gpus: 1, percent: 100 });
  ledger.clock.time += 999;
  expect(ledger.renew(lease.id)).toEqual({ ...lease, expiresAt: 1_001_999 });
  ledger.clock.time += 999;
  expect(ledger.expire()).toEqual([]);
  expect(ledger.leases()).toEqual([{ ...lease, expiresAt: 1_001_999 }]);
});

const SHARE = fc.oneof(
  fc.record({ gpus: fc.integer({ min: 1, max: 4 }), percent: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ gpus: fc.integer({ min: 1, max: 4 }), memoryMb: fc.integer({ min: 1, max: 17_000 }) }),
);
const STEP = fc.oneof(
  { weight: 4, arbitrary: fc.record({ claim: SHARE }) },
  { weight: 2, arbitrary: fc.record({ release: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ renew: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ pass: fc.integer({ min: 1, max: 600 }) }) },
);
const STEPS = fc.array(STEP, { maxLength: 60 });

test("claim() never exceeds a GPU in any sequence of claims, releases, renewals and expiries", () =>
  fc.assert(
    fc.property(STEPS, (steps) => {
      const ledger = ledgerOf(gpu("a"), gpu("b", { memoryMb: 8000 }), gpu("c"), gpu("d", { healthy: false }));
      for (const step of steps) {
        if ("claim" in step) {
          const result = claim(ledger, step.claim);
          if ("lease" in result) {
            expect(new Set(result.lease.gpus.map(({ gpuId }) => gpuId)).size).toBe(step.claim.gpus);
          } else {
            expect(result.availableGpus).toBeLessThan(step.claim.gpus);
            expect(result.capableGpus).toBeGreaterThanOrEqual(result.availableGpus);
          }
        } else if ("release" in step) ledger.release(String(step.release));
        else if ("renew" in step) ledger.renew(String(step.renew));
        else {
          ledger.clock.time += step.pass;
          ledger.expire();
        }
        const used = new Map<string, number>();
        for (const { gpuId, units } of ledger.leases().flatMap((lease) => lease.gpus)) {
          expect(units).toBeGreaterThanOrEqual(1);
          used.set(gpuId, (used.get(gpuId) ?? 0) + units);
        }
        for (const units of used.values()) expect(units).toBeLessThanOrEqual(100);
        expect(used.has("d")).toBe(false);
      }
    }),
    { numRuns: 200 },
  ));

test("untilEnded() is aborted when the lease ends in any way, and not by a renewal", () => {
  const ledger = ledgerOf(gpu("a"));
  const [released, expired, removed] = [10, 20, 30].map((percent) => grant(ledger, { gpus: 1, percent }).id) as [
    string,
    string,
    string,
  ];
  const signals = [released, expired, removed].map((id) => ledger.untilEnded(id));
  const ended = () => signals.map((signal) => signal?.aborted);
  ledger.renew(released);
  expect(ended()).toEqual([false, false, false]);
  ledger.release(released);
  expect(ended()).toEqual([true, false, false]);
  ledger.end(({ id }) => id === removed);
  expect(ended()).toEqual([true, false, true]);
  ledger.clock.time += 1000;
  ledger.expire();
  expect(ended()).toEqual([true, true, true]);
  expect(ledger.untilEnded(released)).toBeUndefined();
});
