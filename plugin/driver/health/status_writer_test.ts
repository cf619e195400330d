import { afterEach, expect, test } from "bun:test";
import type { DeviceStatus, ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import {
  connectWithKubeconfig,
  kubeconfigOf,
  startSimulatedApiServer,
} from "../../../kubernetes/simulated/api_server.ts";
import { createLatest } from "../../../program/latest.ts";
import { createRecordingLog } from "../../../program/testing.ts";
import { createClaimReader } from "../claims/readers.ts";
import type { LeaseHealth, NodeHealth } from "./lease_health.ts";
import { runStatusWriter } from "./status_writer.ts";
import { claimHealth, RENEWED_AT } from "./testing.ts";

const CLAIM = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/train";
const MINUTE = 60_000;

const stack: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of stack.splice(0).reverse()) await cleanup();
});

/** Starts a writer for the claim of {@link claimHealth}, whose status has these devices. */
async function startWriter({ devices, uid = "uid-1" }: { devices?: readonly DeviceStatus[]; uid?: string } = {}) {
  const control: { fail?: boolean } = {};
  const api = startSimulatedApiServer({
    onRequest: () => (control.fail ? Response.json({ message: "etcd is down" }, { status: 503 }) : undefined),
  });
  stack.push(() => api[Symbol.asyncDispose]());
  api.store.put(CLAIM, { metadata: { name: "train", namespace: "team", uid }, status: { devices } });
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const health = createLatest<NodeHealth>();
  const lines: string[] = [];
  let time = RENEWED_AT;
  let read: (() => void) | undefined;
  const stop = new AbortController();
  /** Tells when the writer has seen each state: it asks for the next one. */
  const seen = {
    ...health,
    async *changes(signal: AbortSignal) {
      for await (const value of health.changes(signal)) {
        yield value;
        read?.();
      }
    },
  };
  const options = { health: seen, readClaim: createClaimReader(request), request, now: () => time };
  const running = runStatusWriter({ ...options, log: createRecordingLog(lines), signal: stop.signal });
  stack.push(() => {
    stop.abort();
    return running;
  });
  return {
    control,
    lines,
    /** Tells the writer of this state after `pause` ms. Returns the requests that it made. */
    async tell(state: Partial<LeaseHealth>, pause = 0): Promise<string[]> {
      time += pause;
      const before = api.requests.length;
      const done = Promise.withResolvers<void>();
      read = done.resolve;
      health.set(new Map([["uid-1", claimHealth({ checkedAt: time, renewedAt: time, ...state })]]));
      await done.promise;
      return api.requests.slice(before).map((line) => line.split(" ")[0] ?? "");
    },
    condition() {
      const [device] = api.store.get<ResourceClaim>(CLAIM)?.status?.devices ?? [];
      const { status, lastTransitionTime } = device?.conditions[0] ?? {};
      return [status, lastTransitionTime, device?.data?.lastRenewal];
    },
    devices: () => api.store.get<ResourceClaim>(CLAIM)?.status?.devices,
  };
}

const AWAY = { failure: "away", renewedAt: RENEWED_AT };

test("a change is written at once, but at most once a minute, and tells since when", async () => {
  const writer = await startWriter();
  expect(await writer.tell({})).toEqual(["GET", "PATCH"]);
  expect(writer.condition()).toEqual(["True", "2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z"]);
  expect(await writer.tell(AWAY, MINUTE / 2)).toEqual([]);
  expect(await writer.tell(AWAY, MINUTE / 2)).toEqual(["PATCH"]);
  expect(writer.condition()).toEqual(["False", "2026-11-29T12:01:00Z", "2026-11-29T12:00:00Z"]);
  expect(await writer.tell({ ...AWAY, failure: "refused" }, 2 * MINUTE)).toEqual(["PATCH"]);
  expect(writer.condition()).toEqual(["False", "2026-11-29T12:01:00Z", "2026-11-29T12:00:00Z"]);
});

test("the time of the last renewal alone is written every half an hour", async () => {
  const writer = await startWriter();
  await writer.tell({});
  expect(await writer.tell({}, 29 * MINUTE)).toEqual([]);
  expect(await writer.tell({}, MINUTE)).toEqual(["PATCH"]);
  expect(writer.condition()).toEqual(["True", "2026-11-29T12:00:00Z", "2026-11-29T12:30:00Z"]);
});

test("a restarted driver writes nothing that is written already", async () => {
  const before = await startWriter();
  await before.tell({});
  const writer = await startWriter({ devices: before.devices() ?? [] });
  expect(await writer.tell({}, 2 * MINUTE)).toEqual(["GET"]);
  expect(await writer.tell(AWAY)).toEqual(["PATCH"]);
  expect(await writer.tell({ ...AWAY, renewedAt: undefined }, 40 * MINUTE)).toEqual(["PATCH"]);
  expect(writer.condition()).toEqual(["False", "2026-11-29T12:02:00Z", "2026-11-29T12:00:00Z"]);
});

test("a failed write is logged once, and tried again in a minute", async () => {
  const writer = await startWriter();
  writer.control.fail = true;
  for (const pause of [0, MINUTE]) expect(await writer.tell({}, pause)).toEqual(["GET"]);
  expect(writer.lines).toEqual([
    expect.stringMatching(/^Cannot write the state of leases to their claim: .*etcd is down$/),
  ]);
  writer.control.fail = false;
  expect(await writer.tell({}, MINUTE - 1)).toEqual([]);
  expect(await writer.tell({}, 1)).toEqual(["GET", "PATCH"]);
});

test("a claim of the same name is left alone", async () => {
  const writer = await startWriter({ uid: "uid-2" });
  expect(await writer.tell({})).toEqual(["GET"]);
  expect(writer.devices()).toBeUndefined();
  expect(writer.lines).toEqual([]);
});
