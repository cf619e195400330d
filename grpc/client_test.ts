import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { freePort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { connectTcp, connectUnix, type GrpcChannel } from "./client.ts";
import { serveGrpc } from "./server.ts";

/** Serves an inventory with this host name. */
function serve(hostname: string, port = 0) {
  return serveGrpc({
    listen: { port, host: "127.0.0.1" },
    routes: (router) => router.service(PoolService, { getInventory: () => ({ inventory: { hostname } }) }),
    drain: 50,
  });
}

function call(channel: GrpcChannel): Promise<unknown> {
  return createClient(PoolService, channel.transport)
    .getInventory({})
    .then(
      ({ inventory }) => inventory?.hostname,
      (error) => Code[ConnectError.from(error).code],
    );
}

test("connectTcp() fails with Unavailable until a server listens, and then works", async () => {
  const port = await freePort();
  using channel = connectTcp(`127.0.0.1:${port}`);
  expect(await call(channel)).toBe("Unavailable");
  await using _server = await serve("late", port);
  expect(await call(channel)).toBe("late");
});

test("connectTcp() reconnects when the server is replaced", async () => {
  const first = await serve("first");
  using channel = connectTcp(`127.0.0.1:${first.port}`);
  expect(await call(channel)).toBe("first");
  await first[Symbol.asyncDispose]();
  expect(await call(channel)).toBe("Unavailable");
  await using _second = await serve("second", first.port);
  expect(await call(channel)).toBe("second");
});

test("connectUnix() fails if the socket does not exist", async () => {
  using channel = connectUnix(join(tmpdir(), crypto.randomUUID()));
  expect(await call(channel)).toBeOneOf(["Internal", "Unavailable"]);
});
