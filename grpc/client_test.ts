import { expect, test } from "bun:test";
import { once } from "node:events";
import { mkdtempDisposable } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { freePort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { connectTls, connectUnix, type GrpcChannel } from "./client.ts";
import { serveGrpc } from "./server.ts";

/** Serves an inventory with this host name. */
function serve(hostname: string, listen: Partial<{ port: number; path: string }> = {}) {
  return serveGrpc({
    listen: listen.path ? { path: listen.path } : { port: listen.port ?? 0, host: "127.0.0.1", tls: TEST_SERVER },
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

test("connectTls() fails with Unavailable until a server listens, and then works", async () => {
  const port = await freePort();
  using channel = connectTls(`127.0.0.1:${port}`, TEST_CLIENT);
  expect(await call(channel)).toBe("Unavailable");
  await using _server = await serve("late", { port });
  expect(await call(channel)).toBe("late");
});

test("connectTls() reconnects when the server is replaced", async () => {
  const first = await serve("first");
  using channel = connectTls(`127.0.0.1:${first.port}`, TEST_CLIENT);
  expect(await call(channel)).toBe("first");
  await first[Symbol.asyncDispose]();
  expect(await call(channel)).toBe("Unavailable");
  await using _second = await serve("second", { port: first.port });
  expect(await call(channel)).toBe("second");
});

test("connectTls() connects again when its connection is dead, though nobody has closed it", async () => {
  await using server = await serve("server");
  const sockets: Socket[] = [];
  const proxy = createServer((socket) => {
    const other = connect(server.port, "127.0.0.1");
    sockets.push(socket, other);
    socket.on("error", () => {}).pipe(other);
    other.on("error", () => {}).pipe(socket);
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const address = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  using channel = connectTls(address, TEST_CLIENT, { pingIntervalMs: 1, pingTimeoutMs: 200 });
  expect(await call(channel)).toBe("server");
  for (const socket of sockets.splice(0)) socket.unpipe().pause();
  for (const start = performance.now(); performance.now() < start + 2; ) await new Promise(setImmediate); // the interval
  expect(await call(channel)).toBe("server");
  proxy.close();
  for (const socket of sockets) socket.destroy();
});

test("connectUnix() fails if the socket does not exist", async () => {
  using channel = connectUnix(join(tmpdir(), crypto.randomUUID()));
  expect(await call(channel)).toBeOneOf(["Internal", "Unavailable"]);
});

const MEBIBYTE = 1024 * 1024;

test("connectTls() rejects a message of more than 2 MiB with ResourceExhausted", async () => {
  for (const [size, outcome] of [
    [2 * MEBIBYTE, "ResourceExhausted"],
    [1 * MEBIBYTE, "x".repeat(1 * MEBIBYTE)],
  ] as const) {
    await using server = await serve("x".repeat(size));
    using channel = connectTls(`127.0.0.1:${server.port}`, TEST_CLIENT);
    expect((await call(channel)) === outcome).toBe(true);
  }
});

test("connectUnix() rejects a message of more than 16 MiB with ResourceExhausted", async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), "grpc-"));
  for (const [size, outcome] of [
    [17 * MEBIBYTE, "ResourceExhausted"],
    [15 * MEBIBYTE, "x".repeat(15 * MEBIBYTE)],
  ] as const) {
    const path = join(directory.path, `${size}.sock`);
    await using _server = await serve("x".repeat(size), { path });
    using channel = connectUnix(path);
    expect((await call(channel)) === outcome).toBe(true);
  }
});
