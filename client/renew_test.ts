import { expect, test } from "bun:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import { connectTcp } from "../grpc/client.ts";
import { serveGrpc } from "../grpc/server.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { keepRenewed } from "./renew.ts";
import type { ServerLease } from "./server_lease.ts";

/** Starts a server with the given renew handler. Returns a lease on it. */
async function startLease(timeToLive: number, renew: ServiceImpl<typeof PoolService>["renew"]) {
  const server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1" },
    drain: 50,
    routes: (router) => router.service(PoolService, { renew }),
  });
  const address = `127.0.0.1:${server.port}`;
  const channel = connectTcp(address);
  const lease: ServerLease = {
    address,
    client: createClient(PoolService, channel.transport),
    id: "a",
    gpus: [{ gpuId: "b", units: 1 }],
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

const response = { timeToLive: durationFromMs(200) };

/** Returns the message of the error that keepRenewed() throws, or "none". */
function errorMessage(lease: ServerLease): Promise<string> {
  return keepRenewed(lease, AbortSignal.timeout(4000)).then(
    () => "none",
    (error) => error.message,
  );
}

test("keepRenewed() renews the lease by its id until the signal is aborted", async () => {
  const stop = new AbortController();
  const ids: string[] = [];
  await using server = await startLease(200, ({ leaseId }) => {
    ids.push(leaseId);
    if (ids.length === 3) stop.abort();
    return response;
  });
  await keepRenewed(server.lease, stop.signal);
  expect(ids).toEqual(["a", "a", "a"]);
});

test("keepRenewed() returns immediately when the signal is aborted between renewals", async () => {
  const stop = new AbortController();
  await using server = await startLease(3_600_000, () => response);
  const renewing = keepRenewed(server.lease, stop.signal);
  stop.abort();
  await renewing;
});

test("keepRenewed() throws immediately if the server reports that the lease has ended", async () => {
  let calls = 0;
  await using server = await startLease(2000, () => {
    calls += 1;
    throw new ConnectError("No such lease: it has ended", Code.NotFound);
  });
  expect(await errorMessage(server.lease)).toBe(
    `The lease on ${server.lease.address} is lost: [not_found] No such lease: it has ended`,
  );
  expect(calls).toBe(1);
});

test("keepRenewed() tolerates failed renewals if one succeeds in time", async () => {
  const stop = new AbortController();
  let calls = 0;
  await using server = await startLease(400, () => {
    calls += 1;
    if (calls === 4) stop.abort();
    if (calls % 2 === 1) throw new ConnectError("Try again", Code.Unavailable);
    return response;
  });
  await keepRenewed(server.lease, stop.signal);
  expect(calls).toBe(4);
});

test("keepRenewed() throws if the server is unreachable for the lease's time to live", async () => {
  await using server = await startLease(200, () => response);
  await server.stopServer();
  expect(await errorMessage(server.lease)).toStartWith(`The lease on ${server.lease.address} is lost: [unavailable]`);
});
