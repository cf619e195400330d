import { expect, test } from "bun:test";
import type { RecordedEvent } from "../../kubernetes/events.ts";
import type { ResourceClaim } from "../../kubernetes/resource_claim.ts";
import { deviceName } from "../../pool/device.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { planSlices } from "../slices/plan.ts";
import type { State, WholeState } from "../state.ts";
import { applied, claim, gpu, inventoryOf, server } from "../testing.ts";
import { keepReported, type ReportOptions } from "./report.ts";

const A = `bitfusion-0/${deviceName("a")}`;
const inventory = inventoryOf(server("s:1", [gpu("a")]));
const slices = new Map(
  applied([], planSlices({ inventory, slices: [], held: new Map() }, { now: 0 })).map((slice) => [
    slice.metadata.name,
    slice,
  ]),
);

/** A pool of one GPU of which so much is held, and claims that wait. */
function stateWith(held: number, ...waiting: ResourceClaim[]): WholeState {
  const claims = [claim("holder", { allocated: { [A]: held } }), ...waiting];
  return { inventory, slices, claims: new Map(claims.map((each) => [`team/${each.metadata.name}`, each])) };
}

/** Reports until disposal, and gives each Event. */
function report(state: State, options: Partial<ReportOptions> = {}) {
  const latest = createLatest<State>(state);
  const events = createLatest<readonly RecordedEvent[]>([]);
  const stop = new AbortController();
  const record = async (event: RecordedEvent) => events.set([...(events.current ?? []), event]);
  const ended = keepReported({
    state: latest,
    record,
    log: silentLog,
    period: 5,
    rest: 0,
    signal: stop.signal,
    ...options,
  });
  return {
    state: latest,
    async until(count: number): Promise<readonly RecordedEvent[]> {
      for await (const list of events.changes(AbortSignal.timeout(4000))) if (list.length >= count) return list;
      throw new Error(`Waited 4 s for ${count} Events: ${JSON.stringify(events.current)}`);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

test("keepReported() tells the user of a pod that waits what is missing, once, and again when that changes", async () => {
  const waiting = claim("c", { units: 60, namespace: "team", pod: "train" });
  await using reporting = report(stateWith(70, waiting));
  await reporting.until(1);
  reporting.state.set(stateWith(70, waiting)); // nothing new
  reporting.state.set(stateWith(50, waiting));
  const events = await reporting.until(2);
  expect(events[0]).toEqual({
    kind: "Pod",
    apiVersion: "v1",
    name: "train",
    uid: "uid-train",
    namespace: "team",
    type: "Warning",
    reason: "WaitingForPool",
    message: "Waiting for the pool: needs 60 % of one GPU; the freest has 30 %",
  });
  expect(events[1]?.message).toBe("Waiting for the pool: needs 60 % of one GPU; the freest has 50 %");
});

test("keepReported() lets the last Event of a pod stand for a while", async () => {
  const [one, other] = [claim("one", { units: 60, pod: "one" }), claim("other", { units: 70, pod: "other" })];
  await using reporting = report(stateWith(70, one), { rest: 60_000 });
  await reporting.until(1);
  reporting.state.set(stateWith(50, one, other)); // "other" is told of this look or a later one
  const events = await reporting.until(2);
  expect(events.map(({ name }) => name)).toEqual(["one", "other"]);
});

test("keepReported() says nothing of a claim without a pod, and goes on", async () => {
  const { metadata, spec } = claim("orphan", { units: 60 });
  const { ownerReferences: _, ...rest } = metadata;
  await using reporting = report(stateWith(70, { metadata: rest, spec }, claim("c", { units: 60 })));
  expect((await reporting.until(1)).map(({ name }) => name)).toEqual(["train"]);
});

test("keepReported() goes on when an Event cannot be recorded", async () => {
  const recorded = Promise.withResolvers<void>();
  const answers = [() => Promise.reject(new Error("forbidden")), async () => recorded.resolve()];
  const waiting = [claim("one", { units: 60 }), claim("other", { units: 60 })];
  await using _ = report(stateWith(70, ...waiting), { record: () => answers.shift()?.() ?? Promise.resolve() });
  await recorded.promise;
});
