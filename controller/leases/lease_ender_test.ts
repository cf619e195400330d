import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { claimPath, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { testClientOf } from "../../pool/sources/testing.ts";
import { createLatest } from "../../program/latest.ts";
import { createRecordingLog } from "../../program/testing.ts";
import { type PoolServerOptions, type RunningPoolServer, startPoolServer, TEST_HOLDER } from "../../server/testing.ts";
import { type ClaimState, stateOf } from "../claims/claim_state.ts";
import { createControllerMetrics } from "../metrics.ts";
import { server as serverState } from "../testing.ts";
import { createLeaseEnder } from "./lease_ender.ts";

const DEADLINE = 4000;
const OWNER = { namespace: "team", pod: "train", container: "main" };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startPool(options: PoolServerOptions = {}): Promise<RunningPoolServer> {
  const server = await startPoolServer(options);
  cleanups.push(() => server[Symbol.asyncDispose]());
  return server;
}

/** Takes a lease on 10 percent of a GPU for a claim, as the driver of node-1 does. Without a name, as a pod does itself. */
function takeLease({ ledger }: RunningPoolServer, name?: string, shareId = "s-1") {
  const resourceClaim = name && { namespace: "team", name, uid: `uid-of-${name}`, node: "node-1", shareIds: [shareId] };
  const share = { gpus: 1, percent: 10 };
  const result = ledger.claim({
    holder: TEST_HOLDER,
    owner: OWNER,
    share,
    ...(resourceClaim ? { resourceClaim } : {}),
  });
  if (!("lease" in result)) throw new Error("The pool is full");
  const { id } = result.lease;
  const ended = once(ledger.untilEnded(id) as AbortSignal, "abort", { signal: AbortSignal.timeout(DEADLINE) });
  ended.catch(() => {}); // tests that need it wait for it
  return { id, ended };
}

function claim(name: string, shareId: string | undefined, uid = `uid-of-${name}`): ResourceClaim {
  const results = [{ driver: "bitfusion.io", pool: "p", device: "d", request: "gpu", shareID: shareId ?? "" }];
  const status = shareId === undefined ? {} : { allocation: { devices: { results } } };
  return { metadata: { namespace: "team", name, uid }, spec: {}, status };
}

interface StartOptions {
  onRequest?: (request: Request) => Response | undefined;
  period?: number;
}

/** Starts an API server and a lease ender. `watched` is what its watch has told; by default, all that the API server has. */
async function start(servers: readonly RunningPoolServer[], { onRequest, period = 3_600_000 }: StartOptions = {}) {
  const requests = createLatest(0);
  const api = startSimulatedApiServer({
    onRequest: (request) => {
      requests.set((requests.current ?? 0) + 1);
      return onRequest?.(request);
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const watched = new Map<string, ClaimState>();
  const lines: string[] = [];
  const metrics = createControllerMetrics({ supply: () => undefined, waitingClaims: () => [] });
  const state = { isSynced: true };
  const ender = createLeaseEnder({
    request,
    clientOf: testClientOf,
    claims: {
      get isSynced() {
        return state.isSynced;
      },
      state: (key) => watched.get(key),
    },
    log: createRecordingLog(lines),
    metrics,
    period,
  });
  ender.setServers(servers.map(({ address }) => serverState(address)));
  const put = (each: ResourceClaim) => api.store.put(claimPath("team", each.metadata.name), each);
  return {
    ...ender,
    lines,
    requests,
    state,
    /** Creates a claim. The watch tells of it. */
    add(each: ResourceClaim): void {
      put(each);
      watched.set(`team/${each.metadata.name}`, stateOf(each));
    },
    /** Creates a claim of which the watch has not told yet. */
    put,
    /** Deletes a claim. The watch tells of it. */
    remove(name: string): void {
      api.store.remove(claimPath("team", name));
      watched.delete(`team/${name}`);
    },
    count: async () => (await metrics.endedLeases.get()).values[0]?.value,
    run(): void {
      const stop = new AbortController();
      const ended = ender.run(stop.signal);
      cleanups.push(() => {
        stop.abort();
        return ended;
      });
    },
  };
}

function idsOf({ ledger }: RunningPoolServer): string[] {
  return ledger.leases().map(({ id }) => id);
}

test("a lease is ended once its claim is gone, and others stay: of claims that hold them, and of no claim", async () => {
  const server = await startPool();
  const { add, remove, run, trigger, count, lines, requests } = await start([server]);
  add(claim("gone", "s-1"));
  add(claim("held", "s-2"));
  const [gone, held, own] = [takeLease(server, "gone"), takeLease(server, "held", "s-2"), takeLease(server)];
  run();
  remove("gone");
  trigger();
  await gone.ended;
  await until(() => lines.length > 0);
  expect(idsOf(server)).toEqual([held.id, own.id]);
  expect(lines).toEqual(["Lease ended: its claim does not exist any more"]);
  expect(await count()).toBe(1);
  expect(requests.current).toBe(1); // claims of which the watch says that they hold the lease are not read
});

test.each([
  ["deallocated", undefined],
  ["allocated again", "s-9"],
])("a lease is ended once its claim was %s", async (_, shareId) => {
  const server = await startPool();
  const { add, run } = await start([server]);
  const { ended } = takeLease(server, "moved");
  add(claim("moved", shareId));
  run();
  await ended;
});

test("a lease stays if the API server says that its claim holds it, though the watch does not know yet", async () => {
  const server = await startPool();
  const { put, run } = await start([server]);
  const lease = takeLease(server, "new");
  const gone = takeLease(server, "gone");
  put(claim("new", "s-1"));
  run();
  await gone.ended; // leases are checked in their order
  expect(idsOf(server)).toEqual([lease.id]);
});

test("no lease is ended while the API server does not answer, or the claims are not known", async () => {
  const server = await startPool();
  let failures = 2;
  const onRequest = () => (failures-- > 0 ? Response.json({ message: "etcd is down" }, { status: 503 }) : undefined);
  const { run, state, lines, trigger, requests } = await start([server], { onRequest });
  const { id, ended } = takeLease(server, "gone");
  state.isSynced = false;
  run();
  for (let tick = 0; tick < 20; tick++) await new Promise(setImmediate);
  expect(requests.current).toBe(0);
  state.isSynced = true;
  trigger();
  await until(() => lines.length > 0);
  expect(lines).toEqual([expect.stringMatching(/^Cannot check the leases of a pool server: .*etcd is down/)]);
  expect(idsOf(server)).toEqual([id]);
  await ended;
  expect(failures).toBeLessThan(0);
});

test("only the leases of the named servers are checked", async () => {
  const [named, other] = [await startPool(), await startPool({ hostname: "other" })];
  const { run, trigger } = await start([named, other]);
  const atStart = [takeLease(named, "gone"), takeLease(other, "gone")];
  run();
  for (const { ended } of atStart) await ended;
  const { id } = takeLease(other, "gone");
  for (let round = 0; round < 2; round++) {
    const { ended } = takeLease(named, "gone");
    trigger(new Set([named.address]));
    await ended;
  }
  expect(idsOf(other)).toEqual([id]);
});

test("a server that is away delays no other, and its leases are checked when it is back", async () => {
  const [away, server] = [await startPool({ hostname: "away" }), await startPool()];
  const { run } = await start([away, server]);
  await away[Symbol.asyncDispose]();
  const { ended } = takeLease(server, "gone");
  run();
  await ended;
  const restarted = await startPool({ port: away.port });
  await takeLease(restarted, "gone").ended;
});

test("leases are checked again after each period, and no more once their server left the pool", async () => {
  const [server, former] = [await startPool(), await startPool()];
  const { run, setServers } = await start([server, former], { period: 1 });
  run();
  for (let round = 0; round < 2; round++) await takeLease(server, "gone").ended;
  setServers([serverState(server.address)]);
  await takeLease(server, "gone").ended;
  const { id } = takeLease(former, "gone");
  await takeLease(server, "gone").ended;
  expect(idsOf(former)).toEqual([id]);
});

/** Polls until the condition is true. */
async function until(condition: () => boolean): Promise<void> {
  for (const deadline = AbortSignal.timeout(DEADLINE); !condition(); await Bun.sleep(5)) deadline.throwIfAborted();
}
