import { expect, test } from "bun:test";
import { once } from "node:events";
import { access, mkdtempDisposable, writeFile } from "node:fs/promises";
import { connect as connectHttp2, constants } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, type ConnectRouter, createClient } from "@connectrpc/connect";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createAuthority, issueClientCertificate, issueServerCertificate } from "../tls/authority.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import { createTestClient, TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { connectTls, connectUnix } from "./client.ts";
import { peerOf } from "./peer.ts";
import { serveGrpc } from "./server.ts";

const MEBIBYTE = 1024 * 1024;
/** What a client learns when the server does not accept its certificate. */
const REFUSED = "it may not accept the client's certificate";

const INVENTORY = { hostname: "a", gpus: [] };

function routes(router: ConnectRouter): void {
  router.service(PoolService, {
    getInventory: () => ({ inventory: INVENTORY }),
    async *watchInventory(_, { signal }) {
      yield { inventory: INVENTORY };
      yield { inventory: { ...INVENTORY, hostname: "b" } };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    },
  });
}

/** Returns a socket path in a new directory. Disposal removes the directory. */
async function temporarySocket() {
  const directory = await mkdtempDisposable(join(tmpdir(), "grpc-"));
  return { path: join(directory.path, "test.sock"), [Symbol.asyncDispose]: () => directory.remove() };
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

test("serveGrpc() serves unary calls and streams on a Unix socket", async () => {
  await using socket = await temporarySocket();
  await using server = await serveGrpc({ listen: { path: socket.path }, routes });
  expect(server.port).toBe(0);
  using channel = connectUnix(socket.path);
  const client = createClient(PoolService, channel.transport);
  expect((await client.getInventory({})).inventory?.hostname).toBe("a");
  const hostnames: (string | undefined)[] = [];
  const stop = new AbortController();
  for await (const { inventory } of client.watchInventory({}, { signal: stop.signal })) {
    hostnames.push(inventory?.hostname);
    if (hostnames.length === 2) break;
  }
  stop.abort();
  expect(hostnames).toEqual(["a", "b"]);
});

test("serveGrpc() listens on a free TCP port and returns its number", async () => {
  await using server = await serveGrpc({ listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER }, routes });
  expect(server.port).toBeGreaterThan(0);
  using channel = connectTls(`127.0.0.1:${server.port}`, TEST_CLIENT);
  expect((await createClient(PoolService, channel.transport).getInventory({})).inventory?.hostname).toBe("a");
});

/** Serves the name and unit of the peer over TLS. */
function servePeer(onRefused?: (reason: string) => void) {
  return serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        getInventory(_, context) {
          const { name, unit } = peerOf(context);
          return { inventory: { hostname: `${name}/${unit}` } };
        },
        async *watchInventory(_, { signal }) {
          yield { inventory: INVENTORY };
          await once(signal, "abort");
        },
      }),
    ...(onRefused ? { onRefused } : {}),
  });
}

/** The name and unit that the server sees, or the error. */
async function peerSeen(port: number, tls: TlsIdentity): Promise<string> {
  using channel = connectTls(`127.0.0.1:${port}`, tls);
  return await createClient(PoolService, channel.transport)
    .getInventory({}, { timeoutMs: 4000 })
    .then(
      ({ inventory }) => inventory?.hostname ?? "",
      (error) => error.message,
    );
}

const stranger = await createAuthority("stranger-ca", { now: Date.now(), lifetime: 3600_000 });

test("serveGrpc() knows the peer by its certificate", async () => {
  await using server = await servePeer();
  expect(await peerSeen(server.port, await createTestClient("a"))).toBe("a/");
  expect(await peerSeen(server.port, await createTestClient("a", "pods"))).toBe("a/pods");
});

test("serveGrpc() refuses clients without a certificate, with one of another CA, and with that of a server", async () => {
  const reasons: string[] = [];
  await using server = await servePeer((reason) => reasons.push(reason));
  const foreign = await issueClientCertificate(stranger, { name: "a", now: Date.now(), lifetime: 3600_000 });
  const { ca } = TEST_CLIENT;
  expect(await peerSeen(server.port, { ca } as TlsIdentity)).toContain("CERTIFICATE_REQUIRED");
  for (const pair of [foreign, TEST_SERVER]) expect(await peerSeen(server.port, { ...pair, ca })).toContain(REFUSED);
  expect(reasons).toEqual([
    expect.stringContaining("PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    "unable to verify the first certificate",
    "unsupported certificate purpose",
  ]);
});

test("a client refuses a server with a certificate of another CA, or for another host", async () => {
  await using server = await servePeer();
  const other = await issueServerCertificate(stranger, {
    subject: "a",
    hosts: ["127.0.0.1"],
    now: Date.now(),
    lifetime: 3600_000,
  });
  expect(await peerSeen(server.port, { ...TEST_CLIENT, ca: stranger.certificate.toString("pem") })).toContain(
    "self signed certificate in certificate chain",
  );
  server.useTls({ ...other, ca: TEST_CLIENT.ca });
  expect(await peerSeen(server.port, TEST_CLIENT)).toMatch(/certificate/);
});

test("useTls() does not let in clients without a certificate", async () => {
  await using server = await servePeer();
  server.useTls({ ...TEST_SERVER });
  expect(await peerSeen(server.port, { ca: TEST_CLIENT.ca } as TlsIdentity)).toContain("CERTIFICATE_REQUIRED");
  expect(await peerSeen(server.port, TEST_CLIENT)).toBe("cluster/");
});

test("serveGrpc() does not speak HTTP/2 without TLS", async () => {
  await using server = await servePeer();
  const socket = connect(server.port, "127.0.0.1", () => socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  const received: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => received.push(chunk)).on("error", () => {});
  await once(socket, "close");
  const TLS_ALERT = 21;
  expect(Buffer.concat(received)[0] ?? TLS_ALERT).toBe(TLS_ALERT);
});

test("closeConnections() ends the calls of these peers only", async () => {
  await using server = await servePeer();
  const [a, b] = [await createTestClient("a"), await createTestClient("b")].map((identity) => {
    const channel = connectTls(`127.0.0.1:${server.port}`, identity);
    const updates = createClient(PoolService, channel.transport).watchInventory({})[Symbol.asyncIterator]();
    return { channel, updates };
  });
  if (!a || !b) throw new Error("No clients");
  using _a = a.channel;
  using _b = b.channel;
  await Promise.all([a.updates.next(), b.updates.next()]);
  const [endOfA, endOfB] = [a, b].map(({ updates }) =>
    updates.next().then(
      () => "message",
      () => "ended",
    ),
  );
  server.closeConnections(({ name }) => name === "a");
  expect(await endOfA).toBe("ended");
  expect(await Promise.race([endOfB, peerSeen(server.port, await createTestClient("c"))])).toBe("c/");
});

test("serveGrpc() accepts the path of the socket as :authority", async () => {
  await using socket = await temporarySocket();
  await using _server = await serveGrpc({ listen: { path: socket.path }, routes });
  expect(await getInventory(socket.path, encodeURIComponent(socket.path))).toBe('{"inventory":{"hostname":"a"}}');
});

test("serveGrpc() survives an unencoded path of the socket as :authority", async () => {
  await using socket = await temporarySocket();
  await using _server = await serveGrpc({ listen: { path: socket.path }, routes });
  await getInventory(socket.path, socket.path); // Bun may reject it
  expect(await getInventory(socket.path, "localhost")).toBe('{"inventory":{"hostname":"a"}}');
});

test("serveGrpc() rejects a deadline that is further away than a timer can wait", async () => {
  await using socket = await temporarySocket();
  await using _server = await serveGrpc({ listen: { path: socket.path }, routes });
  const call = (days: number) =>
    getInventory(socket.path, "localhost", { "connect-timeout-ms": String(days * 86_400_000) });
  expect(await call(20)).toBe('{"inventory":{"hostname":"a"}}');
  expect(JSON.parse(await call(30))).toEqual({
    code: "invalid_argument",
    message: "timeout 2592000000ms must be <= 2147483647",
  });
});

test("disposal of serveGrpc() ends open streams and removes the socket", async () => {
  await using socket = await temporarySocket();
  const server = await serveGrpc({ listen: { path: socket.path }, routes });
  using channel = connectUnix(socket.path);
  const updates = createClient(PoolService, channel.transport).watchInventory({})[Symbol.asyncIterator]();
  await updates.next();
  await updates.next();
  const next = updates.next().then(
    ({ done }) => done,
    () => true,
  );
  await server[Symbol.asyncDispose]();
  expect(await next).toBe(true);
  expect(await exists(socket.path)).toBe(false);
});

test("disposal of serveGrpc() waits for running calls", async () => {
  const called = Promise.withResolvers<void>();
  const server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    drain: 60_000,
    routes: (router) =>
      router.service(PoolService, {
        async getInventory(_, { signal }) {
          const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
          called.resolve();
          await aborted;
          return { inventory: INVENTORY };
        },
      }),
  });
  using channel = connectTls(`127.0.0.1:${server.port}`, TEST_CLIENT);
  const response = createClient(PoolService, channel.transport).getInventory({}, { timeoutMs: 4000 });
  const hostname = response.then(({ inventory }) => inventory?.hostname, String);
  await called.promise;
  await server[Symbol.asyncDispose]();
  expect(await hostname).toBe("a");
});

test("disposal of serveGrpc() waits at most `drain` ms for a call that does not end", async () => {
  const called = Promise.withResolvers<void>();
  const server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        getInventory() {
          called.resolve();
          return new Promise(() => {});
        },
      }),
  });
  using channel = connectTls(`127.0.0.1:${server.port}`, TEST_CLIENT);
  const stop = new AbortController();
  const response = createClient(PoolService, channel.transport)
    .getInventory({}, { signal: stop.signal })
    .then(String, () => "disconnected");
  await called.promise;
  await server[Symbol.asyncDispose]();
  stop.abort(); // connect-node on Bun does not detect that the connection was closed
  expect(await response).toBe("disconnected");
});

test("disposal of serveGrpc() waits at most `drain` ms for a client that neither writes nor reads", async () => {
  await using socket = await temporarySocket();
  const server = await serveGrpc({ listen: { path: socket.path }, routes, drain: 50 });
  const client = connect(socket.path);
  await once(client, "connect");
  using channel = connectUnix(socket.path); // its call ends after the first connection was accepted
  await createClient(PoolService, channel.transport).getInventory({});
  await server[Symbol.asyncDispose]();
  client.destroy();
});

test("serveGrpc() replaces the socket file of a previous server", async () => {
  await using socket = await temporarySocket();
  await writeFile(socket.path, "");
  await using _server = await serveGrpc({ listen: { path: socket.path }, routes });
  using channel = connectUnix(socket.path);
  expect((await createClient(PoolService, channel.transport).getInventory({})).inventory?.hostname).toBe("a");
});

test("serveGrpc() rejects if the port is in use", async () => {
  await using server = await serveGrpc({ listen: { port: 0, tls: TEST_SERVER }, routes });
  const second = serveGrpc({ listen: { port: server.port, tls: TEST_SERVER }, routes });
  expect(await second.then(String, (error) => error.code)).toBe("EADDRINUSE");
});

test("serveGrpc() rejects a request of more than 4 MiB with ResourceExhausted, and keeps serving", async () => {
  const pods: number[] = [];
  await using server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER },
    routes: (router) =>
      router.service(PoolService, {
        claim({ owner }) {
          pods.push(owner?.pod.length ?? 0);
          return {};
        },
      }),
  });
  const claim = async (length: number) => {
    using channel = connectTls(`127.0.0.1:${server.port}`, TEST_CLIENT);
    const call = createClient(PoolService, channel.transport).claim({ owner: { pod: "x".repeat(length) } });
    return await call.then(
      () => "granted",
      (error) => Code[ConnectError.from(error).code],
    );
  };
  expect(await claim(5 * MEBIBYTE)).toBe("ResourceExhausted");
  expect(await claim(3 * MEBIBYTE)).toBe("granted");
  expect(pods).toEqual([3 * MEBIBYTE]);
});

test("serveGrpc() ends a stream whose client cancels it without reading", async () => {
  const ended = Promise.withResolvers<string>();
  await using server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER },
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory() {
          try {
            for (;;) yield { inventory: { hostname: "x".repeat(MEBIBYTE) } }; // more than the client's window
          } finally {
            ended.resolve("ended");
          }
        },
      }),
  });
  const session = connectHttp2(`https://127.0.0.1:${server.port}`, { ...TEST_CLIENT });
  using _session = { [Symbol.dispose]: () => session.destroy() };
  const request = session.request({
    ":method": "POST",
    ":path": "/bitfusion.pool.v1.PoolService/WatchInventory",
    "content-type": "application/connect+json",
  });
  const firstData = once(request, "data").then(() => request.pause());
  request.end(Buffer.from([0, 0, 0, 0, 2, ...Buffer.from("{}")])); // an envelope: flags, length, message
  await firstData;
  request.close(constants.NGHTTP2_CANCEL);
  expect(await ended.promise).toBe("ended");
});

/** Calls GetInventory with this :authority and these headers. Returns the body of the response, or the error as text. */
async function getInventory(path: string, authority: string, headers: Record<string, string> = {}): Promise<string> {
  const session = connectHttp2("http://localhost", { createConnection: () => connect(path) });
  const request = session.request({
    ":method": "POST",
    ":authority": authority,
    ":path": "/bitfusion.pool.v1.PoolService/GetInventory",
    "content-type": "application/json",
    ...headers,
  });
  request.end("{}");
  request.setEncoding("utf8");
  let body = "";
  try {
    for await (const chunk of request) body += chunk;
    return body;
  } catch (error) {
    return String(error);
  } finally {
    session.destroy();
  }
}

test("a connection without a certificate ends when it has no call, and lasts while it has one", async () => {
  await using server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER, allowAnonymous: true },
    routes,
    drain: 50,
    anonymousIdle: 100,
  });
  const url = `https://127.0.0.1:${server.port}`;
  const idle = connectHttp2(url, { ca: TEST_CLIENT.ca });
  using channel = connectTls(`127.0.0.1:${server.port}`, { ca: TEST_CLIENT.ca });
  const stop = new AbortController();
  const stream = createClient(PoolService, channel.transport).watchInventory({}, { signal: stop.signal });
  const messages = stream[Symbol.asyncIterator]();
  await messages.next();
  await once(idle, "close");
  expect((await messages.next()).value?.inventory?.hostname).toBe("b");
  const known = connectHttp2(url, { ...TEST_CLIENT });
  await once(known, "remoteSettings");
  const later = connectHttp2(url, { ca: TEST_CLIENT.ca });
  await once(later, "close");
  expect(known.closed).toBe(false);
  known.destroy();
  stop.abort();
});
