import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Event } from "../../kubernetes/objects/event.ts";
import { type Cluster, claim, device, pod, randomCluster, slice, TIME } from "./testing.ts";
import type { HeldShare, PoolView } from "./types.ts";
import { viewPool } from "./view.ts";

const RUNS = { numRuns: 100 };

function viewOf(cluster: Partial<Cluster>): PoolView {
  return viewPool({ slices: [], claims: [], pods: [], ...cluster });
}

/** What the claims of a cluster were allocated of the pool. */
function allocationsOf({ claims }: Cluster) {
  return claims.flatMap(({ metadata, status }) =>
    (status?.allocation?.devices?.results ?? []).map(({ pool, device, consumedCapacity }) => ({
      claim: metadata.name,
      device: `${pool}/${device}`,
      units: Number(consumedCapacity?.units),
    })),
  );
}

function sumOf(units: readonly { units: number }[]): number {
  return units.reduce((sum, each) => sum + each.units, 0);
}

const describeShare = ({ claim, pool, device, units }: HeldShare) => `${claim} ${pool}/${device} ${units}`;

test("viewPool() shows each share once among the holders, and once in its GPU", () => {
  fc.assert(
    fc.property(randomCluster, (cluster) => {
      const { holders, servers } = viewOf(cluster);
      const inGpus = servers.flatMap(({ gpus }) => gpus.flatMap(({ shares }) => shares));
      const allocated = allocationsOf(cluster).map(({ claim, device, units }) => `${claim} ${device} ${units}`);
      expect(holders.map(describeShare).sort()).toEqual(allocated.sort());
      expect(inGpus.map(describeShare).sort()).toEqual(allocated);
      expect(new Set(holders.map(({ id }) => id)).size).toBe(holders.length);
      expect(new Set(inGpus)).toEqual(new Set(holders));
    }),
    RUNS,
  );
});

test("the sums of viewPool() agree with the slices' capacity and the claims' consumed capacity", () => {
  fc.assert(
    fc.property(randomCluster, (cluster) => {
      const { servers, totals } = viewOf(cluster);
      const gpus = servers.flatMap((server) => server.gpus);
      const allocations = allocationsOf(cluster);
      for (const gpu of gpus) {
        const own = allocations.filter(({ device }) => device === `${gpu.pool}/${gpu.device}`);
        expect(gpu.heldUnits).toBe(sumOf(own));
        expect(gpu.freeUnits + gpu.blockedUnits).toBe(Math.max(0, gpu.totalUnits - gpu.heldUnits));
        const stored = cluster.slices.find(({ metadata }) => metadata.name === gpu.slice);
        const same = stored?.spec.devices?.find(({ name }) => name === gpu.device);
        expect(gpu.totalUnits).toBe(Number(same?.capacity?.units?.value ?? 0));
      }
      const published = gpus.filter(({ slice }) => slice !== "");
      for (const key of ["totalUnits", "heldUnits", "freeUnits", "blockedUnits"] as const) {
        for (const server of servers) expect(server[key]).toBe(server.gpus.reduce((sum, gpu) => sum + gpu[key], 0));
        expect(totals[key]).toBe(published.reduce((sum, gpu) => sum + gpu[key], 0));
      }
      expect(totals.gpus).toBe(published.length);
      const newest = (pool: string) =>
        Math.max(
          ...cluster.slices.filter(isOwn).map(({ spec }) => (spec.pool.name === pool ? spec.pool.generation : 0)),
        );
      const current = cluster.slices
        .filter(isOwn)
        .filter(({ spec }) => spec.pool.generation === newest(spec.pool.name));
      const keys = current.flatMap(({ spec }) => spec.devices?.map(({ name }) => `${spec.pool.name}/${name}`) ?? []);
      expect(published.map((gpu) => `${gpu.pool}/${gpu.device}`).sort()).toEqual([...new Set(keys)].sort());
    }),
    RUNS,
  );
});

const isOwn = ({ spec }: Cluster["slices"][number]) => spec.driver === "bitfusion.io";

test("the queue of viewPool() has each pod once whose claims are not all allocated, and no other", () => {
  fc.assert(
    fc.property(randomCluster, (cluster) => {
      const waiting = cluster.pods.filter(({ metadata, spec, status }) => {
        if (spec.nodeName || ["Succeeded", "Failed"].includes(String(status?.phase))) return false;
        return !cluster.claims.some((each) => each.metadata.name === metadata.name && each.status?.allocation);
      });
      const { queue } = viewOf(cluster);
      expect(queue.map((each) => each.pod).sort()).toEqual(waiting.map(({ metadata }) => metadata.name).sort());
    }),
    RUNS,
  );
});

test("viewPool() does not depend on the order of the objects", () => {
  const reversed = (list: readonly object[]) => list.toReversed() as never;
  fc.assert(
    fc.property(randomCluster, ({ slices, claims, pods, events, taintRules }) => {
      const view = viewOf({ slices, claims, pods, events, taintRules });
      const other = viewOf({
        slices: reversed(slices),
        claims: reversed(claims),
        pods: reversed(pods),
        events: reversed(events),
        taintRules: reversed(taintRules),
      });
      expect(other).toEqual(view);
    }),
    RUNS,
  );
});

const A = "bitfusion-0/a";
const B = "bitfusion-0/b";
const SLICES = [slice("bitfusion-0", [device("a", "s:1"), device("b", "s:2")])];

test("viewPool() tells who holds a GPU, since when, on which node, and how the lease is", () => {
  const view = viewOf({
    slices: SLICES,
    claims: [claim("train", { held: [[A, 60]], ready: "True", message: "GPU s:1/a of pool server s:1 is healthy" })],
    pods: [pod("train", { node: "node-1", phase: "Running" })],
  });
  expect(view.holders).toEqual([
    {
      id: "team/train/0",
      namespace: "team",
      claim: "train",
      pod: "train",
      podUid: "uid-train",
      otherPods: [],
      containers: ["main"],
      node: "node-1",
      pool: "bitfusion-0",
      device: "a",
      gpu: "s:1/a",
      server: "s:1",
      units: 60,
      since: TIME,
      state: "ready",
      message: "GPU s:1/a of pool server s:1 is healthy",
    },
  ]);
  expect(view.servers.map(({ address, name, heldUnits, freeUnits }) => [address, name, heldUnits, freeUnits])).toEqual([
    ["s:1", "s", 60, 40],
    ["s:2", "s", 0, 100],
  ]);
  expect([view.queue, view.problems]).toEqual([[], []]);
});

test.each<[state: string, options: Parameters<typeof claim>[1], phase: "Pending" | "Running" | "Succeeded"]>([
  ["starting", {}, "Pending"],
  ["unknown", {}, "Running"],
  ["ready", { ready: "True" }, "Running"],
  ["failing", { ready: "False" }, "Running"],
  ["unknown", { ready: "Unknown" }, "Pending"],
  ["ending", { ready: "True" }, "Succeeded"],
])("viewPool() shows the state %s of a share with %j of a pod that is %s", (state, options, phase) => {
  const claims = [claim("train", { ...options, held: [[A, 60]] })];
  const { holders } = viewOf({ slices: SLICES, claims, pods: [pod("train", { node: "node-1", phase })] });
  expect(holders.map((share) => share.state)).toEqual([state as never]);
});

test("viewPool() shows a share whose pod is gone as ending, but not if pods could not be read", () => {
  const claims = [claim("train", { held: [[A, 60]], ready: "True" })];
  const states = (pods: Cluster["pods"] | undefined) =>
    viewPool({ slices: SLICES, claims, pods }).holders.map(({ state }) => state);
  expect([states([]), states(undefined)]).toEqual([["ending"], ["ready"]]);
});

test("viewPool() tells apart two shares of one GPU that a claim holds", () => {
  const train = claim("train", {
    held: [
      [A, 10],
      [A, 20],
    ],
    ready: "True",
  });
  const devices = train.status?.devices?.map((each, index) =>
    index === 0
      ? each
      : { ...each, conditions: each.conditions.map((ready) => ({ ...ready, status: "False" as const })) },
  );
  const claims = [{ ...train, status: { ...train.status, ...(devices ? { devices } : {}) } }];
  const { holders } = viewOf({ slices: SLICES, claims, pods: [pod("train", { node: "node-1", phase: "Running" })] });
  expect(holders.map(({ units, state }) => [units, state])).toEqual([
    [10, "ready"],
    [20, "failing"],
  ]);
});

test("viewPool() does not take a new pod for an earlier one of the same name", () => {
  const train = pod("train", { node: "node-1", phase: "Running" });
  const successor = { ...train, metadata: { ...train.metadata, uid: "uid-new" } };
  const { holders } = viewOf({ slices: SLICES, claims: [claim("train", { held: [[A, 60]] })], pods: [successor] });
  expect(holders.map(({ state, node }) => [state, node])).toEqual([["ending", ""]]);
});

test("viewPool() tells waiting pods by priority and age, with what the pool lacks", () => {
  const { queue } = viewOf({
    slices: SLICES,
    claims: [
      claim("train", { held: [[A, 60]] }),
      claim("first", { units: 80, count: 2 }),
      claim("second", { units: 40 }),
      claim("urgent", { units: 100 }),
    ],
    pods: [
      pod("train", { node: "node-1" }),
      pod("second", { share: "1x40", since: "2026-11-29T12:00:02Z", message: "0/1 nodes are available" }),
      pod("first", { share: "2x80", since: "2026-11-29T12:00:01Z" }),
      pod("urgent", { share: "1x100", since: "2026-11-29T12:00:03Z", priority: 1000 }),
      pod("new", { share: "1x10", since: "2026-11-29T12:00:04Z" }),
    ],
  });
  expect(queue.map(({ pod, since, priority, reasons }) => ({ pod, since, priority, reasons }))).toEqual([
    { pod: "urgent", since: "2026-11-29T12:00:03Z", priority: 1000, reasons: [] },
    {
      pod: "first",
      since: "2026-11-29T12:00:01Z",
      priority: 0,
      reasons: ["needs 80 % of each of 2 different GPUs; only 1 has that now: the freest have 100 % and 40 %"],
    },
    { pod: "second", since: "2026-11-29T12:00:02Z", priority: 0, reasons: ["scheduler: 0/1 nodes are available"] },
    { pod: "new", since: "2026-11-29T12:00:04Z", priority: 0, reasons: ["its claim new does not exist yet"] },
  ]);
  expect(queue[1]?.requests).toEqual([
    { claim: "first", containers: ["main"], text: "80 % of each of 2 different GPUs", count: 2, units: 80 },
  ]);
});

test("viewPool() tells the queue by the claims alone if pods could not be read", () => {
  const { queue } = viewPool({ slices: SLICES, claims: [claim("train", { units: 30, count: 3 })] });
  expect(queue).toEqual([
    {
      namespace: "team",
      pod: "train",
      podUid: "uid-train",
      since: TIME,
      priority: 0,
      reasons: ["needs 30 % of each of 3 different GPUs; the pool has only 2"],
      requests: [{ claim: "train", containers: [], text: "30 % of each of 3 different GPUs", count: 3, units: 30 }],
    },
  ]);
});

test("a DeviceTaintRule keeps its GPUs from being free, and the view says which rule it is", () => {
  const taint = { key: "example.com/repair", effect: "NoSchedule", timeAdded: TIME } as const;
  const { servers, queue } = viewOf({
    slices: SLICES,
    claims: [claim("train", { count: 2 })],
    pods: [pod("train", { share: "2x50" })],
    taintRules: [
      { metadata: { name: "repair" }, spec: { deviceSelector: { driver: "bitfusion.io", device: "a" }, taint } },
      { metadata: { name: "others" }, spec: { deviceSelector: { driver: "gpu.example.com" }, taint } },
      { metadata: { name: "unselective" }, spec: { taint } },
    ],
  });
  const [first, second] = servers.flatMap(({ gpus }) => gpus);
  expect([first?.state, first?.freeUnits, first?.blockedUnits, first?.healthy]).toEqual(["tainted", 0, 100, true]);
  expect(first?.taints).toEqual([{ key: "example.com/repair", effect: "NoSchedule", since: TIME, rule: "repair" }]);
  expect([second?.state, second?.taints]).toEqual(["ok", []]);
  expect(queue[0]?.reasons[0]).toEndWith("only 1 has that now: the freest have 100 % and 0 %");
});

test.each([
  ["draining", true, true],
  ["unhealthy", false, true],
  ["unreachable", false, false],
  ["gone", false, true],
])("viewPool() shows a GPU that the controller taints as %s", (state, healthy, reachable) => {
  const taints = [{ key: `bitfusion.io/${state}`, effect: "NoSchedule", timeAdded: TIME } as const];
  const { servers } = viewOf({ slices: [slice("bitfusion-0", [device("a", "s:1", { taints })])] });
  const [server] = servers;
  expect([server?.gpus[0]?.state, server?.gpus[0]?.healthy, server?.reachable]).toEqual([
    state as never,
    healthy,
    reachable,
  ]);
  expect(server?.taints.map(({ key }) => key)).toEqual([`bitfusion.io/${state}`]);
});

test("viewPool() says what does not agree", () => {
  const { problems } = viewOf({
    slices: [
      slice("bitfusion-0", [device("a", "s:1")], { gpus: 3 }),
      slice("bitfusion-1", [device("a", "s:1")], { pool: "bitfusion-0", gpus: 3 }),
    ],
    claims: [claim("x", { held: [[A, 60]] }), claim("y", { held: [[A, 50]] }), claim("z", { held: [[B, 50]] })],
  });
  expect(problems).toEqual([
    "Claims hold 110 units of GPU s:1/a, which has 100.",
    "Claims hold 50 units of GPU b, which no ResourceSlice has.",
    "Device bitfusion-0/a is in the slices bitfusion-0 and bitfusion-1: only one counts.",
    "The slices have 1 GPUs of the pool: expected 3, as the controller says.",
  ]);
});

function event(reason: string, message: string, changes: Partial<Event> = {}): Event {
  const involvedObject = { kind: "Pod", namespace: "team", name: "train", uid: "uid-train" };
  return {
    metadata: { name: `${reason}-${message.length}`, namespace: "team" },
    involvedObject,
    type: "Warning",
    reason,
    message,
    lastTimestamp: TIME,
    ...changes,
  };
}

test("viewPool() tells what events say about a waiting pod, without control characters", () => {
  const { queue } = viewOf({
    slices: SLICES,
    pods: [pod("train")],
    events: [
      event("ClaimsRefused", "an older message", { lastTimestamp: "2026-11-29T11:00:00Z" }),
      event("ClaimsRefused", "The pod gets no claims: \u001b[2J"),
      event("FailedScheduling", "0/1 nodes"),
      event("Pulled", "of another type", { type: "Normal" }),
      event("Other", "of an earlier pod", { involvedObject: { kind: "Pod", name: "train", uid: "other" } }),
    ],
  });
  expect(queue[0]?.reasons).toEqual(["its claim train does not exist yet", "The pod gets no claims: \\u001b[2J"]);
});

test("viewPool() tells what the pool lacks now, and not what the controller told earlier", () => {
  const events = [event("WaitingForPool", "Waiting for the pool: needs 50 % of one GPU; the freest has 0 %")];
  const pods = [pod("train", { message: "0/1 nodes are available" })];
  const { queue } = viewOf({ slices: SLICES, claims: [claim("train")], pods, events });
  expect(queue[0]?.reasons).toEqual(["scheduler: 0/1 nodes are available"]);
});

test("viewPool() computes a hundred shortages, and tells the events of the other pods", () => {
  const names = Array.from({ length: 102 }, (_, index) => `pod-${String(index).padStart(3, "0")}`);
  const claims = names.map((name, index) => claim(name, { units: 1 + (index % 100), count: 3 + (index % 3) }));
  const events = names.map((name) =>
    event("WaitingForPool", `${name} waits`, { involvedObject: { kind: "Pod", namespace: "team", name } }),
  );
  const { queue } = viewOf({ slices: SLICES, claims, pods: names.map((name) => pod(name)), events });
  const told = queue.filter(({ reasons }) => reasons.some((reason) => reason.endsWith(" waits")));
  expect(told.map((each) => each.pod)).toEqual(["pod-100", "pod-101"]);
});

test("viewPool() tells whose pods are refused because of their share", () => {
  const involvedObject = { kind: "ReplicaSet", namespace: "team", name: "web" };
  const denied = 'admission webhook "mutate.bitfusion.io" denied the request: no client';
  const { refusals } = viewOf({
    slices: SLICES,
    events: [
      event("FailedCreate", denied, { involvedObject, count: 3 }),
      event("FailedCreate", "exceeded quota: cpu", { involvedObject: { ...involvedObject, name: "other" } }),
    ],
  });
  expect(refusals).toEqual([
    { namespace: "team", kind: "ReplicaSet", name: "web", message: denied, lastSeen: TIME, count: 3 },
  ]);
});

test("viewPool() claims no shortage and no disagreement where it cannot see all slices and claims", () => {
  const objects = {
    claims: [claim("big", { units: 100 }), claim("train", { held: [["bitfusion-0/a", 50]] })],
    pods: [pod("big")],
  };
  expect(viewPool(objects)).toMatchObject({ problems: [], queue: [{ pod: "big", reasons: [] }] });
  const slices = [slice("bitfusion-0", [device("a", "s:1")])];
  expect(viewPool({ ...objects, slices, lacksClaims: true }).queue[0]?.reasons).toEqual([]);
  expect(viewPool({ ...objects, slices }).queue[0]?.reasons).toEqual(["needs 100 % of one GPU; the freest has 50 %"]);
});
