import { expect, test } from "bun:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import { serveGrpc } from "../grpc/server.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { keepRenewed, LeaseLostError, scheduleOf } from "./renew.ts";
import type { ServerLease } from "./server_lease.ts";

/** Starts a server with the given handler of renewals. Returns a lease on it. */
async function startLease(timeToLive: number, renewLeases: ServiceImpl<typeof PoolService>["renewLeases"]) {
  const server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER },
    drain: 50,
    routes: (router) => router.service(PoolService, { renewLeases }),
  });
  const address = `127.0.0.1:${server.port}`;
  const channel = connectTls(address, TEST_CLIENT);
  const lease: ServerLease = {
    address,
    client: createClient(PoolService, channel.transport),
    id: "a",
    secret: "s",
    gpus: [{ gpuId: "b", units: 1 }],
    sentAt: performance.now(),
    timeToLive,
  };
  return {
    lease,
    stopServer: () => server[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      channel[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The response to the renewal of a lease, with its time to live in ms. */
function responseWith(timeToLive: number) {
  return { renewals: [{ timeToLive: durationFromMs(timeToLive) }] };
}

const response = responseWith(2000);

/** Returns the message of the error that keepRenewed() throws, or "none". */
function errorMessage(lease: ServerLease): Promise<string> {
  return keepRenewed(lease, AbortSignal.timeout(4000)).then(
    () => "none",
    (error) => error.message,
  );
}

test.concurrent("keepRenewed() renews the lease by its id until the signal is aborted", async () => {
  const stop = new AbortController();
  const ids: string[] = [];
  await using server = await startLease(2000, ({ leases }) => {
    ids.push(...leases.map(({ leaseId }) => leaseId));
    if (ids.length === 3) stop.abort();
    return response;
  });
  await keepRenewed(server.lease, stop.signal);
  expect(ids).toEqual(["a", "a", "a"]);
});

test.concurrent("keepRenewed() returns immediately when the signal is aborted between renewals", async () => {
  const stop = new AbortController();
  await using server = await startLease(3_600_000, () => response);
  const renewing = keepRenewed(server.lease, stop.signal);
  stop.abort();
  await renewing;
});

test.concurrent("keepRenewed() throws immediately if the server reports that the lease has ended", async () => {
  let calls = 0;
  await using server = await startLease(2000, () => {
    calls += 1;
    return { renewals: [{}] };
  });
  expect(await errorMessage(server.lease)).toBe(`The lease on ${server.lease.address} is lost: it has ended`);
  expect(calls).toBe(1);
});

test.concurrent("keepRenewed() keeps a lease for longer than its time to live if every second renewal fails", async () => {
  const stop = new AbortController();
  const timeToLive = 2000;
  const claimedAt = performance.now();
  let calls = 0;
  await using server = await startLease(timeToLive, () => {
    calls += 1;
    if (performance.now() > claimedAt + timeToLive) stop.abort();
    if (calls % 2 === 1) throw new ConnectError("Try again", Code.Unavailable);
    return response;
  });
  await keepRenewed(server.lease, stop.signal);
  expect(calls).toBeWithin(4, 20);
});

test.concurrent("keepRenewed() throws if the server is unreachable for the lease's time to live", async () => {
  await using server = await startLease(2000, () => response);
  await server.stopServer();
  expect(await errorMessage(server.lease)).toStartWith(`The lease on ${server.lease.address} is lost: [unavailable]`);
});

test.concurrent.each<[string, () => Promise<never>]>([
  ["does not answer", () => new Promise(() => {})],
  ["fails", () => Promise.reject(new ConnectError("Try again", Code.Unavailable))],
])("keepRenewed() throws before the server ends the lease if the server %s", async (_, fail) => {
  const timeToLive = 2000;
  let renewedAt = 0; // the server counts from here
  await using server = await startLease(timeToLive, () => {
    if (renewedAt) return fail();
    renewedAt = performance.now();
    return responseWith(timeToLive);
  });
  const error = await keepRenewed(server.lease, AbortSignal.timeout(4000)).then(String, (error) => error);
  const rest = renewedAt + timeToLive - performance.now();
  expect(error).toBeInstanceOf(LeaseLostError);
  expect(rest).toBeGreaterThan(0);
  expect(error.endBy).toBeLessThan(renewedAt + timeToLive);
  expect(error.endBy).toBeGreaterThan(performance.now());
});

test.concurrent("keepRenewed() renews immediately a lease whose claim took long", async () => {
  const stop = new AbortController();
  await using server = await startLease(3_600_000, () => {
    stop.abort();
    return response;
  });
  await keepRenewed({ ...server.lease, sentAt: performance.now() - 1_800_000 }, stop.signal);
});

test.concurrent("keepRenewed() takes the time to live of the last renewal", async () => {
  await using server = await startLease(2000, () => responseWith(1));
  expect(await errorMessage(server.lease)).toBe(
    `The lease on ${server.lease.address} is lost: time_to_live is 1 ms: expected 50 or more`,
  );
});

test.concurrent.each([100, 15_000, 3_600_000])(
  "scheduleOf() a lease of %d ms leaves time to end the command before the server ends the lease",
  (timeToLive) => {
    const { renewAt, callTimeout, lostAt, endBy, grace } = scheduleOf({ sentAt: 1000, timeToLive });
    expect(renewAt + callTimeout).toBeLessThan(lostAt); // two attempts at least
    expect(endBy - lostAt).toBe(grace);
    expect(grace).toBe(Math.min(10_000, (timeToLive * 3) / 16));
    expect(endBy).toBeLessThanOrEqual(1000 + timeToLive * 0.95);
  },
);
