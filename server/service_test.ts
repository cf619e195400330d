import { expect, setSystemTime, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import {
  type ClaimRequestSchema,
  type Gpu,
  PoolService,
  ShortageSchema,
} from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT } from "../tls/testing.ts";
import { type PoolServerOptions, startPoolServer } from "./testing.ts";

const OWNER = { namespace: "default", pod: "a", container: "main" };

/** Starts a server and connects a client to it. */
async function connect(options: PoolServerOptions = {}) {
  const server = await startPoolServer(options);
  const channel = connectTls(server.address, TEST_CLIENT);
  return {
    gpus: server.gpus,
    setGpus: server.setGpus,
    setDraining: server.setDraining,
    expiresAt: () => server.ledger.leases().map((lease) => lease.expiresAt),
    client: createClient(PoolService, channel.transport),
    async [Symbol.asyncDispose]() {
      channel[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** Returns the error of a call that must fail. */
async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("The call succeeded");
}

function claimPercent(client: Client<typeof PoolService>, gpus: number, value: number) {
  return client.claim({ owner: OWNER, gpus, share: { case: "percent", value } });
}

test("getInventory() and watchInventory() return the server's name and GPUs", async () => {
  await using server = await connect({ hostname: "gpu-1", gpus: 2, memoryMb: 8000 });
  const expected = {
    hostname: "gpu-1",
    hasRdma: false,
    cudaVersion: "12.4",
    driverVersion: "550.54.15",
    gpus: ["gpu-1/0", "gpu-1/1"].map((id) => ({ id, model: "Simulated GPU", memoryMb: 8000n, healthy: true })),
  };
  expect((await server.client.getInventory({})).inventory).toMatchObject(expected);
  const stop = new AbortController();
  const options = { signal: stop.signal };
  const inventories = [];
  for await (const { inventory } of server.client.watchInventory({ heartbeatInterval: durationFromMs(100) }, options)) {
    inventories.push(inventory);
    if (inventories.length === 3) server.setGpus([]);
    if (inventories.length === 4) break;
  }
  expect(inventories).toMatchObject([expected, undefined, undefined, { hostname: "gpu-1", gpus: [] }]); // heartbeats repeat nothing
  stop.abort();
});

const RESOURCE_CLAIM = { namespace: "team", name: "train-gpu", uid: "a-1", node: "node-1", shareIds: ["s-1"] };

const UNKNOWN_FILTER =
  'Unknown filter "x": expected one of server.hostname, server.has-rdma, server.cuda-version, server.driver-version, server.data-plane, server.data-plane-build, device.id, device.name, device.phy-memory, device.isolation';
const expectedText = (length: number) => `expected at most ${length} characters, none of them a control character`;
const SHARE = "expected percent from 1 to 100, or memory_mb of 1 or more";

test.each<[string, MessageInitShape<typeof ClaimRequestSchema>, string]>([
  ["no GPUs", { gpus: 0, share: { case: "percent", value: 1 } }, "gpus is 0: expected 1 or more"],
  ["a negative number of GPUs", { gpus: -1, share: { case: "percent", value: 1 } }, "gpus is -1: expected 1 or more"],
  ["0 percent", { gpus: 1, share: { case: "percent", value: 0 } }, `percent is 0: ${SHARE}`],
  ["101 percent", { gpus: 1, share: { case: "percent", value: 101 } }, `percent is 101: ${SHARE}`],
  ["no memory", { gpus: 1, share: { case: "memoryMb", value: 0n } }, `memoryMb is 0: ${SHARE}`],
  ["no share", { gpus: 1 }, `share is not set: ${SHARE}`],
  [
    "an unknown filter",
    { gpus: 1, share: { case: "percent", value: 1 }, filters: [{ key: "x", value: "y" }] },
    UNKNOWN_FILTER,
  ],
  [
    "a request id that can be guessed",
    { gpus: 1, share: { case: "percent", value: 1 }, requestId: "1" },
    "request_id is not a UUID: expected a random one, or none",
  ],
  [
    "one GPU twice",
    { gpus: 2, share: { case: "percent", value: 1 }, gpuIds: ["server/0", "server/0"] },
    "gpu_ids is server/0, server/0: expected 2 different GPUs",
  ],
  [
    "a number of GPUs that differs from the number of ids",
    { gpus: 2, share: { case: "percent", value: 1 }, gpuIds: ["server/0"] },
    "gpu_ids is server/0: expected 2 different GPUs",
  ],
  [
    "a pod's name of absurd length",
    { owner: { ...OWNER, pod: "x".repeat(1_000_000) } },
    `owner.pod is "${"x".repeat(199)}… (1000002 characters): ${expectedText(253)}`,
  ],
  [
    "a namespace with a line break",
    { owner: { ...OWNER, namespace: "a\n" } },
    `owner.namespace is "a\\n": ${expectedText(63)}`,
  ],
  [
    "a container's name of 64 characters",
    { owner: { ...OWNER, container: "x".repeat(64) } },
    `owner.container is "${"x".repeat(64)}": ${expectedText(63)}`,
  ],
  [
    "65 filters",
    { filters: Array.from({ length: 65 }, () => ({ key: "device.id", value: "a" })) },
    "filters: expected at most 64 entries",
  ],
  [
    "1025 ids of GPUs",
    { gpuIds: Array.from({ length: 1025 }, () => "server/0") },
    "gpu_ids: expected at most 1024 entries",
  ],
  [
    "a ResourceClaim with a uid of absurd length",
    { resourceClaim: { ...RESOURCE_CLAIM, uid: "x".repeat(64) } },
    `resource_claim.uid is "${"x".repeat(64)}": ${expectedText(63)}`,
  ],
  [
    "a ResourceClaim with 33 shares",
    { resourceClaim: { ...RESOURCE_CLAIM, shareIds: Array.from({ length: 33 }, () => "s") } },
    "resource_claim.share_ids: expected at most 32 entries",
  ],
  [
    "an unknown filter of absurd length",
    { gpus: 1, share: { case: "percent", value: 1 }, filters: [{ key: "x".repeat(100_000), value: "y" }] },
    UNKNOWN_FILTER.replace("x", `${"x".repeat(200)}… (100000 characters)`),
  ],
])("claim() rejects %s with INVALID_ARGUMENT and reports what is expected", async (_, request, message) => {
  await using server = await connect();
  const error = await errorOf(server.client.claim(request));
  expect([Code[error.code], error.rawMessage]).toEqual(["InvalidArgument", message]);
});

test("claim() grants a lease to an owner with the longest names that Kubernetes allows", async () => {
  await using server = await connect();
  const owner = { namespace: "n".repeat(63), pod: "p".repeat(253), container: "c".repeat(63) };
  const { lease } = await server.client.claim({ owner, gpus: 1, share: { case: "percent", value: 1 } });
  expect(lease?.owner).toMatchObject(owner);
});

test("watchInventory() rejects a heartbeat interval below 100 ms", async () => {
  await using server = await connect();
  const updates = server.client.watchInventory({ heartbeatInterval: durationFromMs(99) });
  const error = await errorOf(Array.fromAsync(updates));
  expect([Code[error.code], error.rawMessage]).toEqual([
    "InvalidArgument",
    "heartbeat_interval is 99 ms: expected 100 or more",
  ]);
});

const DAY = 86_400_000;

test.each([10 * DAY, 30 * DAY, 10_000 * 365 * DAY])(
  "watchInventory() sends the inventory immediately, at each change, and nothing in between, with a heartbeat interval of %d ms",
  async (interval) => {
    await using server = await connect({ gpus: 1 });
    const stop = new AbortController();
    const updates = server.client
      .watchInventory({ heartbeatInterval: durationFromMs(interval) }, { signal: stop.signal })
      [Symbol.asyncIterator]();
    const health = async () =>
      (await updates.next()).value?.inventory?.gpus.map(({ healthy, problem }: Gpu) => [healthy, problem]);
    expect(await health()).toEqual([[true, ""]]);
    const next = health();
    // Longer than 1 ms, which is what a timer waits whose time does not fit.
    for (let calls = 0; calls < 20; calls += 1) await server.client.getInventory({});
    const gpu = { number: 0, id: "server/0", model: "Simulated GPU", memoryMb: 16_000, healthy: false };
    server.setGpus([{ ...gpu, problem: "xid-79" }]);
    expect(await next).toEqual([[false, "xid-79"]]);
    stop.abort();
  },
);

test("claim() does not grant a GPU that has become unhealthy", async () => {
  await using server = await connect({ gpus: 1 });
  server.setGpus([{ number: 0, id: "server/0", model: "Simulated GPU", memoryMb: 16_000, healthy: false }]);
  const error = await errorOf(claimPercent(server.client, 1, 1));
  expect(error.findDetails(ShortageSchema)).toMatchObject([{ availableGpus: 0, capableGpus: 0 }]);
});

test("a server that is drained tells so for its healthy GPUs, until that ends", async () => {
  await using server = await connect({ gpus: 2 });
  const updates = server.client.watchInventory({})[Symbol.asyncIterator]();
  const next = async () => (await updates.next()).value?.inventory?.gpus ?? raise();
  const [a, b] = await next();
  const failed = { ...(a as Gpu), memoryMb: 16_000, number: 0, healthy: false, problem: "xid-79" };
  server.setGpus([failed, { ...(b as Gpu), memoryMb: 16_000, number: 1 }]);
  await next();
  server.setDraining(true);
  expect(await next()).toMatchObject([
    { healthy: false, problem: "xid-79" },
    { healthy: false, problem: "draining" },
  ]);
  expect((await server.client.getInventory({})).inventory?.gpus).toMatchObject([{}, { problem: "draining" }]);
  server.setDraining(false);
  expect(await next()).toMatchObject([
    { healthy: false, problem: "xid-79" },
    { healthy: true, problem: "" },
  ]);
});

test("a server that is drained keeps its leases, and grants only what a scheduler has allocated", async () => {
  await using server = await connect();
  const request = {
    owner: OWNER,
    gpus: 1,
    share: { case: "percent", value: 60 } as const,
    requestId: crypto.randomUUID(),
  };
  const { lease, secret } = await server.client.claim(request);
  const leaseId = lease?.id ?? raise();
  server.setDraining(true);
  await server.client.renewLeases({ leases: [{ leaseId }] });
  const { value: attached } = await server.client.attachLease({ leaseId, secret })[Symbol.asyncIterator]().next();
  expect(attached?.gpus).toMatchObject([{ units: 60 }]);
  expect((await server.client.claim(request)).lease?.id).toBe(leaseId);
  const refused = await errorOf(claimPercent(server.client, 1, 10));
  expect([Code[refused.code], refused.rawMessage]).toEqual([
    "Unavailable",
    "This server is drained before it stops: it grants no new leases",
  ]);
  const allocated = { owner: OWNER, gpus: 1, resourceClaim: RESOURCE_CLAIM };
  await server.client.claim({ ...allocated, share: { case: "percent", value: 40 } });
  const full = await errorOf(server.client.claim({ ...allocated, share: { case: "percent", value: 1 } }));
  expect(Code[full.code]).toBe("ResourceExhausted");
  server.setDraining(false);
  await server.client.release({ leaseId });
  await claimPercent(server.client, 1, 10);
});

test("claim() grants a lease, which listLeases() returns", async () => {
  await using server = await connect({ gpus: 2, timeToLive: 15_000, now: () => 1000 });
  const { lease, timeToLive } = await claimPercent(server.client, 2, 30);
  expect(lease?.id).toBeTruthy();
  expect(timeToLive && durationMs(timeToLive)).toBe(15_000);
  expect(lease?.owner).toMatchObject(OWNER);
  expect(lease?.gpus.map(({ gpuId, units }) => [gpuId, units])).toEqual([
    ["server/0", 30],
    ["server/1", 30],
  ]);
  const age = Date.now() - timestampMs(lease?.grantedAt ?? raise());
  expect(age).toBeWithin(0, 10_000);
  expect(timestampMs(lease?.expiresAt ?? raise()) - timestampMs(lease?.grantedAt ?? raise())).toBeWithin(
    14_990,
    15_010,
  );
  const { leases } = await server.client.listLeases({});
  expect(leases).toMatchObject([{ id: lease?.id ?? raise(), owner: lease?.owner, gpus: lease?.gpus }]);
});

test("listLeases() tells which ResourceClaim a lease was taken for", async () => {
  await using server = await connect();
  const share = { case: "percent", value: 1 } as const;
  const { lease } = await server.client.claim({ gpus: 1, share, resourceClaim: RESOURCE_CLAIM });
  expect(lease?.resourceClaim).toMatchObject(RESOURCE_CLAIM);
  await server.client.claim({ gpus: 1, share });
  const { leases } = await server.client.listLeases({});
  expect(leases.map(({ resourceClaim }) => resourceClaim?.uid)).toEqual(["a-1", undefined]);
});

test("claim() takes only GPUs that match every filter", async () => {
  await using server = await connect({ gpus: 3 });
  const share = { case: "percent", value: 10 } as const;
  const filters = [
    { key: "device.name", value: "Simulated GPU" },
    { key: "device.id", value: "server/1" },
  ];
  const { lease } = await server.client.claim({ owner: OWNER, gpus: 1, share, filters });
  expect(lease?.gpus.map(({ gpuId }) => gpuId)).toEqual(["server/1"]);
  const error = await errorOf(server.client.claim({ owner: OWNER, gpus: 2, share, filters }));
  expect(error.findDetails(ShortageSchema)).toMatchObject([{ availableGpus: 1, capableGpus: 1 }]);
});

test("the inventory tells the isolation of each GPU, and claim() selects GPUs by it", async () => {
  await using server = await connect({ gpus: 2 });
  const gpu = { number: 0, id: "server/0", model: "A100", memoryMb: 10_000, healthy: true };
  const instance = { gpuInstance: 1, computeInstance: 0 };
  server.setGpus([gpu, { ...gpu, number: 1, id: "server/1", instance }]);
  const { inventory } = await server.client.getInventory({});
  expect(inventory?.gpus.map(({ isolation }) => isolation)).toEqual(["none", "mig"]);
  expect(inventory?.dataPlane).toBeUndefined();
  const filters = [{ key: "device.isolation", value: "mig" }];
  const { lease } = await server.client.claim({ gpus: 1, share: { case: "percent", value: 10 }, filters });
  expect(lease?.gpus.map(({ gpuId }) => gpuId)).toEqual(["server/1"]);
});

test("claim() takes exactly the GPUs in gpuIds", async () => {
  await using server = await connect({ gpus: 3 });
  const share = { case: "percent", value: 60 } as const;
  const { lease } = await server.client.claim({ owner: OWNER, gpus: 1, share, gpuIds: ["server/1"] });
  expect(lease?.gpus.map(({ gpuId }) => gpuId)).toEqual(["server/1"]);
  const full = await errorOf(server.client.claim({ owner: OWNER, gpus: 1, share, gpuIds: ["server/1"] }));
  expect(full.findDetails(ShortageSchema)).toMatchObject([{ availableGpus: 0, capableGpus: 1 }]);
  const unknown = await errorOf(server.client.claim({ owner: OWNER, gpus: 1, share, gpuIds: ["server/7"] }));
  expect([Code[unknown.code], unknown.rawMessage]).toEqual([
    "NotFound",
    'gpu_ids has "server/7": this server has no such GPU',
  ]);
});

test("claim() converts memory to percent of the GPU", async () => {
  await using server = await connect({ memoryMb: 16_000 });
  const { lease } = await server.client.claim({ owner: OWNER, gpus: 1, share: { case: "memoryMb", value: 1120n } });
  expect(lease?.gpus.map(({ units }) => units)).toEqual([7]);
});

test("claim() rejects a claim that does not fit with RESOURCE_EXHAUSTED and a Shortage", async () => {
  await using server = await connect({ gpus: 2 });
  await claimPercent(server.client, 1, 60);
  const error = await errorOf(claimPercent(server.client, 2, 50));
  expect(Code[error.code]).toBe("ResourceExhausted");
  expect(error.rawMessage).toBe("1 of this server's 2 GPUs are available, 2 are requested");
  expect(error.findDetails(ShortageSchema)).toMatchObject([{ availableGpus: 1, capableGpus: 2 }]);
});

test("release() frees the GPUs, and succeeds for a lease that has ended", async () => {
  await using server = await connect();
  const { lease } = await claimPercent(server.client, 1, 100);
  const leaseId = lease?.id ?? raise();
  await server.client.release({ leaseId });
  await server.client.release({ leaseId });
  await claimPercent(server.client, 1, 100);
});

test("renewLeases() extends each lease that has not ended, and says which have", async () => {
  let time = 1000;
  await using server = await connect({ timeToLive: 1000, now: () => time });
  const { lease } = await claimPercent(server.client, 1, 100);
  const leaseId = lease?.id ?? raise();
  time += 999;
  const leases = [{ leaseId: "unknown" }, { leaseId }, { leaseId: "" }];
  const renew = async () =>
    (await server.client.renewLeases({ leases })).renewals.map(
      ({ timeToLive }) => timeToLive && durationMs(timeToLive),
    );
  expect(await renew()).toEqual([undefined, 1000, undefined]);
  time += 999;
  expect((await server.client.listLeases({})).leases).toHaveLength(1);
  time += 1;
  expect(await renew()).toEqual([undefined, undefined, undefined]);
  expect((await server.client.listLeases({})).leases).toEqual([]);
});

test("renewLeases() renews 1024 leases in one call, and none of more", async () => {
  let time = 0;
  await using server = await connect({ timeToLive: 1000, now: () => time });
  const { lease } = await claimPercent(server.client, 1, 100);
  time += 999;
  const leases = Array.from({ length: 1024 }, () => ({ leaseId: lease?.id ?? raise() }));
  const error = await errorOf(server.client.renewLeases({ leases: [...leases, { leaseId: "a" }] }));
  expect([Code[error.code], error.rawMessage]).toEqual([
    "InvalidArgument",
    "leases has 1025 entries: expected at most 1024",
  ]);
  expect(server.expiresAt()).toEqual([1000]);
  expect((await server.client.renewLeases({ leases })).renewals).toHaveLength(1024);
  expect(server.expiresAt()).toEqual([1999]);
});

test("renewLeases() tells the health of the GPUs of the renewed leases once, and of no other ones", async () => {
  await using server = await connect({ gpus: 3 });
  const granted = [
    await claimPercent(server.client, 1, 30),
    await claimPercent(server.client, 1, 30),
    await claimPercent(server.client, 1, 100),
  ];
  const leases = granted.slice(0, 2).map(({ lease }) => ({ leaseId: lease?.id ?? raise() }));
  const [gpuId] = granted.slice(0, 2).flatMap(({ lease }) => lease?.gpus.map((gpu) => gpu.gpuId) ?? []);
  server.setGpus(server.gpus.map((gpu) => ({ ...gpu, healthy: false, problem: "xid-79" })));
  const { gpus } = await server.client.renewLeases({ leases });
  expect(gpus).toMatchObject([{ id: gpuId ?? raise(), healthy: false, problem: "xid-79" }]);
  expect(gpus).toHaveLength(1);
});

test.each([20_000, -20_000])(
  "a step of the system's clock by %d ms neither ends a lease nor extends it",
  async (step) => {
    await using server = await connect({ timeToLive: 15_000 });
    const { lease } = await claimPercent(server.client, 1, 100);
    try {
      setSystemTime(Date.now() + step);
      const { leases } = await server.client.listLeases({});
      expect(timestampMs(leases[0]?.expiresAt ?? raise()) - Date.now()).toBeWithin(5000, 15_001);
      await server.client.renewLeases({ leases: [{ leaseId: lease?.id ?? raise() }] });
    } finally {
      setSystemTime();
    }
  },
);

const REQUEST_ID = "c3f1a5f0-5d1b-4a7e-9d2e-0c7f6d2b8a11";

test("claim() returns the same lease to a repeated request of the same owner, and to no other one", async () => {
  await using server = await connect();
  const request = { owner: OWNER, gpus: 1, share: { case: "percent", value: 60 } as const, requestId: REQUEST_ID };
  const { lease } = await server.client.claim(request);
  expect((await server.client.claim(request)).lease).toMatchObject({ id: lease?.id ?? raise(), gpus: lease?.gpus });
  for (const other of [
    { ...request, owner: { ...OWNER, pod: "b" } },
    { ...request, requestId: crypto.randomUUID() },
    { ...request, requestId: "" },
    { ...request, share: { case: "percent", value: 41 } as const },
  ]) {
    const error = await errorOf(server.client.claim(other));
    expect(Code[error.code]).toBe("ResourceExhausted");
  }
  expect((await server.client.listLeases({})).leases).toHaveLength(1);
});

test("claim() takes the GPUs of an expired lease", async () => {
  let time = 1000;
  await using server = await connect({ timeToLive: 1000, now: () => time });
  await claimPercent(server.client, 1, 100);
  await errorOf(claimPercent(server.client, 1, 1));
  time += 1000;
  await claimPercent(server.client, 1, 100);
});

function raise(): never {
  throw new Error("The claim has no lease");
}
