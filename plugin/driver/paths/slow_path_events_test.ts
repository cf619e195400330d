import { expect, test } from "bun:test";
import type { RecordedEvent } from "../../../kubernetes/events.ts";
import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import { createRecordingLog } from "../../../program/testing.ts";
import { createConsumerFinder } from "../claims/consumers.ts";
import { claimHealth } from "../health/testing.ts";
import type { SlowPath } from "./path_watch.ts";
import { createSlowPathEvents } from "./slow_path_events.ts";

interface Node {
  /** The pods that use each claim, by the name of the claim. */
  claims: Record<string, string[]>;
  /** The node of each pod. */
  pods: Record<string, string>;
}

/** Starts with these claims and pods on a node. `tell` is called each ten seconds. */
function start({ claims, pods }: Node) {
  const events: RecordedEvent[] = [];
  const lines: string[] = [];
  const control = { time: 0, refused: new Set<string>() };
  const tellPods = createSlowPathEvents({
    findConsumers: createConsumerFinder({
      readClaim: async ({ name }) => {
        const reservedFor = claims[name]?.map((pod) => ({ resource: "pods", name: pod, uid: `uid-of-${pod}` }));
        return (
          reservedFor &&
          ({ metadata: { namespace: "team", name, uid: name }, spec: {}, status: { reservedFor } } as ResourceClaim)
        );
      },
      readPod: async ({ namespace, name }) => {
        const nodeName = pods[name];
        const metadata = { namespace, name, uid: `uid-of-${name}` };
        return nodeName === undefined ? undefined : ({ metadata, spec: { nodeName, containers: [] } } satisfies Pod);
      },
      node: "node-1",
    }),
    record: async (event) => {
      if (control.refused.has(event.object.name)) throw new Error("exceeded quota");
      events.push(event);
    },
    limit: 2,
    log: createRecordingLog(lines),
    now: () => control.time,
  });
  return {
    control,
    events,
    lines,
    /** Tells of slow paths to servers, each with its claims, and returns who got an event, with the server. */
    async tell(...paths: [server: string, ...claims: string[]][]): Promise<string[]> {
      const slow = paths.map(([server, ...uids]): SlowPath => {
        const claimOf = (uid: string) => ({ ...claimHealth({}, uid).claim, name: uid });
        return { address: `${server}:56001`, roundTrip: 12.4, claims: uids.map(claimOf) };
      });
      const before = events.length;
      await tellPods(slow, new AbortController().signal);
      control.time += 10_000;
      return events.slice(before).map(({ object, message }) => {
        return `${object.name} of ${/pool server (\w+):/.exec(message)?.[1]}`;
      });
    },
  };
}

test("a pod gets an event that says how slow its path is, and what to do", async () => {
  const { tell, events } = start({ claims: { c: ["train"] }, pods: { train: "node-1" } });
  expect(await tell(["a", "c"])).toEqual(["train of a"]);
  expect(events).toEqual([
    {
      object: { kind: "Pod", apiVersion: "v1", namespace: "team", name: "train", uid: "uid-of-train" },
      type: "Warning",
      reason: "SlowRoundTrip",
      message:
        "The round trip to pool server a:56001 takes 12 ms, more than the 2 ms of SLOW_ROUND_TRIP: programs wait for it at each call that needs an answer of the GPU. For a shorter one, run the pod on a node that is nearer to the server (spec.nodeSelector), or choose another server (annotation bitfusion-client/filter). An administrator can limit a server to the nodes near it.",
    },
  ]);
});

test("a pod gets one event for a server, until the path has recovered", async () => {
  const { tell } = start({ claims: { c: ["train"], d: ["train"] }, pods: { train: "node-1" } });
  expect(await tell(["a", "c", "d"])).toEqual(["train of a"]);
  for (let round = 0; round < 9; round += 1) expect(await tell(["a", "c", "d"])).toEqual([]);
  expect(await tell()).toEqual([]);
  expect(await tell(["a", "c", "d"])).toEqual(["train of a"]);
});

test("a pod gets at most one event in 30 seconds, though two of its paths are slow", async () => {
  const { tell } = start({ claims: { c: ["train"] }, pods: { train: "node-1" } });
  const told = [];
  for (let round = 0; round < 8; round += 1)
    told.push(...(await tell(["a", "c"], ["b", "c"])).map((who) => [round, who]));
  expect(told).toEqual([
    [0, "train of a"],
    [4, "train of b"],
  ]);
});

test("each call tells the pods of one claim: those that run on this node", async () => {
  const { tell } = start({
    claims: { c: ["here", "elsewhere", "gone"], d: ["other"] },
    pods: { here: "node-1", elsewhere: "node-2", other: "node-1" },
  });
  expect(await tell(["a", "unknown", "c", "d"])).toEqual([]);
  expect(await tell(["a", "unknown", "c", "d"])).toEqual(["here of a"]);
  expect(await tell(["a", "unknown", "c", "d"])).toEqual(["other of a"]);
});

test("a pod that cannot be told is tried again after 30 seconds, and does not delay the others", async () => {
  const { tell, control, lines } = start({
    claims: { c: ["one"], d: ["two"] },
    pods: { one: "node-1", two: "node-1" },
  });
  control.refused.add("one");
  expect(await tell(["a", "c", "d"])).toEqual([]);
  expect(await tell(["a", "c", "d"])).toEqual(["two of a"]);
  control.refused.clear();
  expect(await tell(["a", "c", "d"])).toEqual([]);
  expect(await tell(["a", "c", "d"])).toEqual(["one of a"]);
  expect(lines).toEqual(["Cannot tell pods of a slow path: exceeded quota"]);
});
