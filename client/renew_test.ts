import { expect, test } from "bun:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import { connectTcp } from "../grpc/client.ts";
import { serveGrpc } from "../grpc/server.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { keepAlive } from "./renew.ts";
import type { ServerLease } from "./server_claim.ts";

/** A lease of a server that answers its renewals so. */
async function leaseOf(timeToLive: number, renew: ServiceImpl<typeof PoolService>["renew"]) {
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

const answer = { timeToLive: durationFromMs(200) };

/** The message of the error that keeping a lease alive ends with. */
function loss(lease: ServerLease): Promise<string> {
  return keepAlive(lease, AbortSignal.timeout(4000)).then(
    () => "none",
    (error) => error.message,
  );
}

test("keepAlive() renews the lease by its id until the signal is aborted", async () => {
  const stop = new AbortController();
  const ids: string[] = [];
  await using server = await leaseOf(200, ({ leaseId }) => {
    ids.push(leaseId);
    if (ids.length === 3) stop.abort();
    return answer;
  });
  await keepAlive(server.lease, stop.signal);
  expect(ids).toEqual(["a", "a", "a"]);
});

test("keepAlive() ends at once when the signal is aborted long before the next renewal", async () => {
  const stop = new AbortController();
  await using server = await leaseOf(3_600_000, () => answer);
  const keeping = keepAlive(server.lease, stop.signal);
  stop.abort();
  await keeping;
});

test("keepAlive() throws as soon as the server says that the lease has ended", async () => {
  let calls = 0;
  await using server = await leaseOf(2000, () => {
    calls += 1;
    throw new ConnectError("No such lease: it has ended", Code.NotFound);
  });
  expect(await loss(server.lease)).toBe(
    `The lease on ${server.lease.address} is lost: [not_found] No such lease: it has ended`,
  );
  expect(calls).toBe(1);
});

test("keepAlive() outlives renewals that fail, while one succeeds in time", async () => {
  const stop = new AbortController();
  let calls = 0;
  await using server = await leaseOf(400, () => {
    calls += 1;
    if (calls === 4) stop.abort();
    if (calls % 2 === 1) throw new ConnectError("Try again", Code.Unavailable);
    return answer;
  });
  await keepAlive(server.lease, stop.signal);
  expect(calls).toBe(4);
});

test("keepAlive() throws when the server is away for the lease's whole life", async () => {
  await using server = await leaseOf(200, () => answer);
  await server.stopServer();
  expect(await loss(server.lease)).toStartWith(`The lease on ${server.lease.address} is lost: [unavailable]`);
});
