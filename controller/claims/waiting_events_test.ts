import { expect, test } from "bun:test";
import type { RecordedEvent } from "../../kubernetes/events.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { claim } from "../../pool/claims/testing.ts";
import { createLatest } from "../../program/latest.ts";
import { createRecordingLog, silentLog } from "../../program/testing.ts";
import { createClaimIndex, summarizeClaim } from "./claim_index.ts";
import { reportWaitingPods, type WaitingEventsOptions } from "./waiting_events.ts";

/** Runs reportWaitingPods() on a pool with one GPU until disposal. */
function report(waiting: readonly ResourceClaim[], options: Partial<WaitingEventsOptions> = {}) {
  const claims = createClaimIndex();
  const events = createLatest<readonly RecordedEvent[]>([]);
  const supplyReads = createLatest(0);
  const pool = { free: 30 };
  const stop = new AbortController();
  const add = (each: ResourceClaim) => {
    const object = summarizeClaim(each);
    if (object) claims.apply({ type: "put", key: `team/${each.metadata.name}`, object });
  };
  waiting.forEach(add);
  const ended = reportWaitingPods({
    claims,
    supply: async () => {
      supplyReads.set((supplyReads.current ?? 0) + 1);
      return [{ attributes: { memoryMb: 16_000 }, isTainted: false, held: 100 - pool.free, free: pool.free }];
    },
    record: async (event) => events.set([...(events.current ?? []), event]),
    log: silentLog,
    gracePeriod: 0,
    interval: 0,
    period: 5,
    signal: stop.signal,
    ...options,
  });
  return {
    pool,
    add,
    events,
    async until(count: number): Promise<readonly RecordedEvent[]> {
      for await (const list of events.changes(AbortSignal.timeout(4000))) if (list.length >= count) return list;
      throw new Error(`Waited 4 s for ${count} events: ${JSON.stringify(events.current)}`);
    },
    /** Resolves after this many more rounds. */
    async rounds(count: number): Promise<void> {
      const start = supplyReads.current ?? 0;
      for await (const reads of supplyReads.changes(AbortSignal.timeout(4000))) if (reads >= start + count) return;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

test("reportWaitingPods() counts only GPUs that the nodes of a pod reach", async () => {
  const nodes = {
    nodeSelectorTerms: [{ matchExpressions: [{ key: "zone", operator: "In", values: ["b"] }] }],
  } as const;
  await using reporting = report([claim("c", { units: 60, namespace: "team", pod: "train" })], {
    supply: async () => [{ attributes: { memoryMb: 16_000 }, isTainted: false, held: 0, free: 100, nodes }],
    nodesOf: ({ uid }) => (uid === "uid-train" ? [{ zone: ["a"] }] : undefined),
  });
  const [event] = await reporting.until(1);
  expect(event?.message).toBe(
    "Waiting for the pool: needs 60 % of one GPU; the nodes that the pod selects reach no GPU of the pool",
  );
});

test("reportWaitingPods() records once what a waiting pod lacks, and again when that changes", async () => {
  await using reporting = report([claim("c", { units: 60, namespace: "team", pod: "train" })]);
  await reporting.until(1);
  await reporting.rounds(3);
  reporting.pool.free = 50;
  const events = await reporting.until(2);
  expect(events[0]).toEqual({
    object: { kind: "Pod", apiVersion: "v1", namespace: "team", name: "train", uid: "uid-train" },
    type: "Warning",
    reason: "WaitingForPool",
    message: "Waiting for the pool: needs 60 % of one GPU; the freest has 30 %",
  });
  expect(events.map(({ message }) => message)).toEqual([
    "Waiting for the pool: needs 60 % of one GPU; the freest has 30 %",
    "Waiting for the pool: needs 60 % of one GPU; the freest has 50 %",
  ]);
});

test("reportWaitingPods() says what a pod lacks whose claim has filters of absurd length and with control characters", async () => {
  const annotations = { "bitfusion-client/filter": `device.name=\u001b[2J\u009b${"x".repeat(10_000)}` };
  await using reporting = report([claim("c", { units: 60, annotations })]);
  const [event] = await reporting.until(1);
  expect(event?.message).toEndWith("… (10027 characters); the pool has none");
  expect(event?.message).toStartWith(
    "Waiting for the pool: needs 60 % of one GPU that matches device.name=\\u001b[2J\\u009bxxx",
  );
  expect(event?.message.length).toBeLessThan(1024);
});

test("reportWaitingPods() does not check a claim again at every change of the pool", async () => {
  await using reporting = report([claim("one", { units: 60, pod: "one" })], { interval: 60_000 });
  await reporting.until(1);
  reporting.pool.free = 50;
  reporting.add(claim("other", { units: 70, pod: "other" }));
  const events = await reporting.until(2);
  expect(events.map(({ object }) => object.name)).toEqual(["one", "other"]);
});

test("reportWaitingPods() waits before the first event of a pod", async () => {
  const start = performance.now();
  await using reporting = report([claim("c", { units: 60 })], { gracePeriod: 100 });
  await reporting.until(1);
  expect(performance.now() - start).toBeGreaterThanOrEqual(100);
});

test("reportWaitingPods() records at most ten events in a round, and eventually all of them", async () => {
  const claims = Array.from({ length: 35 }, (_, index) => claim(`c${index}`, { units: 60, pod: `p${index}` }));
  await using reporting = report(claims, { interval: 60_000, period: 200 });
  await reporting.until(1);
  await new Promise(setImmediate);
  expect(reporting.events.current).toHaveLength(10);
  const events = await reporting.until(35);
  expect(new Set(events.map(({ object }) => object.name)).size).toBe(35);
});

/** A waiting claim of the pod `train`, for one of its containers. */
const claimOf = (container: string, units: number) =>
  claim(`claim-of-${container}`, { units, annotations: { "bitfusion.io/containers": container } });

test("reportWaitingPods() records one event for a pod with several claims: what they lack together", async () => {
  await using reporting = report([claimOf("b", 20), claimOf("a", 20)]);
  await reporting.until(1);
  await reporting.rounds(3);
  expect(reporting.events.current?.map(({ message }) => message)).toEqual([
    "Waiting for the pool: needs 2 × 20 % of one GPU at the same time; the only GPU has 30 %",
  ]);
});

test("reportWaitingPods() names the claim that lacks room alone", async () => {
  await using reporting = report([claimOf("a", 20), claimOf("c", 60), claimOf("b", 50)]);
  await reporting.until(1);
  await reporting.rounds(3);
  expect(reporting.events.current?.map(({ message }) => message)).toEqual([
    "Waiting for the pool: the claim of b needs 50 % of one GPU; the freest has 30 %",
  ]);
});

test("reportWaitingPods() keeps pods of one name apart, also by namespace", async () => {
  const recreated = claim("other", { units: 60 });
  const [owner] = recreated.metadata.ownerReferences ?? [];
  const { metadata, spec } = recreated;
  const other = { metadata: { ...metadata, ownerReferences: [{ ...owner, uid: "uid-new" }] }, spec } as ResourceClaim;
  await using reporting = report([claim("c", { units: 60 }), other, claim("d", { units: 60, namespace: "others" })]);
  const events = await reporting.until(3);
  expect(events.map(({ object }) => `${object.namespace}/${object.uid}`).sort()).toEqual([
    "others/uid-train",
    "team/uid-new",
    "team/uid-train",
  ]);
});

test("reportWaitingPods() says nothing about a pod whose claims fit together", async () => {
  await using reporting = report([claimOf("a", 10), claimOf("b", 20)]);
  await reporting.rounds(3);
  expect(reporting.events.current).toEqual([]);
});

test("reportWaitingPods() looks at a limited number of claims of a pod: owner references are the tenant's", async () => {
  const many = Array.from({ length: 1000 }, (_, index) =>
    claim(`c${index}`, { units: 1, annotations: { "bitfusion.io/share": `x${index}` }, pod: "many" }),
  );
  let reads = 0;
  const gpu = {
    get attributes() {
      reads++;
      return { memoryMb: 16_000 };
    },
    isTainted: false,
    held: 70,
    free: 30,
  };
  await using reporting = report(many, { supply: async () => [gpu], interval: 60_000 });
  const [event] = await reporting.until(1);
  expect(event?.message).toBe(
    "Waiting for the pool: needs 32 × 1 % of one GPU at the same time; the only GPU has 30 %",
  );
  expect(reads).toBeLessThan(100);
});

test("reportWaitingPods() skips a claim without a pod", async () => {
  const { metadata, spec } = claim("orphan", { units: 60 });
  const { ownerReferences: _, ...rest } = metadata;
  await using reporting = report([{ metadata: rest, spec }, claim("c", { units: 60 })]);
  expect((await reporting.until(1)).map(({ object }) => object.name)).toEqual(["train"]);
});

test("reportWaitingPods() continues when an event cannot be recorded", async () => {
  const recorded = Promise.withResolvers<void>();
  const results = [() => Promise.reject(new Error("forbidden")), async () => recorded.resolve()];
  const waiting = [claim("one", { units: 60, pod: "one" }), claim("other", { units: 60, pod: "other" })];
  await using _ = report(waiting, { record: () => results.shift()?.() ?? Promise.resolve() });
  await recorded.promise;
});

test("reportWaitingPods() goes on after a failure, which it logs once", async () => {
  const lines: string[] = [];
  let failures = 3;
  await using reporting = report([claim("c", { units: 60 })], {
    supply: async () => {
      if (failures-- > 0) throw new Error("The API server is away");
      return [{ attributes: { memoryMb: 16_000 }, isTainted: false, held: 70, free: 30 }];
    },
    log: createRecordingLog(lines),
  });
  await reporting.until(1);
  expect(lines).toEqual([expect.stringMatching(/^Cannot find out what pods wait for: .*The API server is away/)]);
});
