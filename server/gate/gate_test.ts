import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { formatConnect } from "../../pool/gate/request.ts";
import { silentLog, usedPort } from "../../program/testing.ts";
import { createAuthority, issueServerCertificate } from "../../tls/authority.ts";
import { TEST_SERVER } from "../../tls/testing.ts";
import { simulatedGpus } from "../gpus/simulated.ts";
import { createLedger } from "../leases/ledger.ts";
import { TEST_HOLDER } from "../testing.ts";
import { type GateOptions, openGate } from "./gate.ts";
import { openTunnel } from "./testing/tunnel.ts";

const CONNECTED = "HTTP/1.1 200 Connected\r\n\r\n";

/** Opens a gate in front of leases whose processes do this with each connection. */
async function startGate(onConnection: (socket: Socket) => void, options: Partial<GateOptions> = {}) {
  const stack = new AsyncDisposableStack();
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  let id = 0;
  const ledger = createLedger({
    gpus: () => simulatedGpus({ count: 1, memory: 16_000, model: "T4" }, "gpu"),
    timeToLive: () => 60_000,
    newId: () => `lease-${++id}`,
    newSecret: () => `secret-${id}`,
  });
  /** The leases whose processes a client was connected to. */
  const asked: string[] = [];
  /** Aborted when these clients have left. */
  const left: AbortSignal[] = [];
  const connect = async (leaseId: string, signal: AbortSignal) => {
    asked.push(leaseId);
    left.push(signal);
    return { hostname: "127.0.0.1", port };
  };
  const gate = stack.use(
    openGate({ port: 0, host: "127.0.0.1", tls: TEST_SERVER, ledger, connect, log: silentLog, ...options }),
  );
  return {
    gate,
    ledger,
    asked,
    left,
    /** The connections of the processes. */
    sockets,
    /** Takes a lease. Returns its id and the request that proves it. */
    claim() {
      const owner = { namespace: "default", pod: "a", container: "main" };
      const result = ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus: 1, percent: 10 } });
      if (!("lease" in result)) throw new Error("The ledger refuses");
      return { leaseId: result.lease.id, request: formatConnect(result.lease.id, result.lease.secret) };
    },
    open: (sent: string) => stack.use(openTunnel(gate, sent)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const echo = (socket: Socket) => void socket.pipe(socket);
const ignore = () => {};

/** The status line and the content of an answer. */
function summarize(answer: string): string {
  const [head = "", content = ""] = answer.split("\r\n\r\n");
  return `${head.split("\r\n")[0]} | ${content.trim()}`;
}

function isConnected(text: string): boolean {
  return text.startsWith(CONNECTED);
}

function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", resolve));
}

/** Data of which no two parts are equal. */
function numbers(count: number): string {
  return Array.from({ length: count }, (_, index) => `${index}\n`).join("");
}

function digest(text: string): string {
  return createHash("sha256").update(text, "latin1").digest("hex");
}

test("a client that proves a lease is connected to its process, and loses no bytes", async () => {
  await using server = await startGate(echo);
  const { claim, open, asked } = server;
  claim();
  const { leaseId, request } = claim();
  const tunnel = open(`${request}sent at once`);
  expect(await tunnel.received((text) => text.endsWith("once"))).toBe(`${CONNECTED}sent at once`);
  tunnel.socket.write(", and later");
  await tunnel.received((text) => text.endsWith("sent at once, and later"));
  expect(asked).toEqual([leaseId]);
});

test("a request that arrives byte by byte is understood", async () => {
  await using server = await startGate(echo);
  const tunnel = server.open("");
  tunnel.socket.setNoDelay(true);
  for (const byte of server.claim().request) await new Promise((resolve) => tunnel.socket.write(byte, resolve));
  expect(await tunnel.received(isConnected)).toBe(CONNECTED);
});

const NO_LEASE = "HTTP/1.1 407 Proxy Authentication Required | No such lease: it has ended";

test.each([
  ["a wrong secret", ({ leaseId }: { leaseId: string }) => formatConnect(leaseId, "secret-0"), NO_LEASE],
  ["the secret of another lease", ({ leaseId }: { leaseId: string }) => formatConnect(leaseId, "secret-1"), NO_LEASE],
  ["a lease that does not exist", () => formatConnect("lease-3", "secret-2"), NO_LEASE],
  [
    "no secret",
    ({ leaseId }: { leaseId: string }) => `CONNECT ${leaseId}:1 HTTP/1.1\r\nHost: a\r\n\r\n`,
    "HTTP/1.1 407 Proxy Authentication Required | Expected the secret of the lease as a bearer token",
  ],
  [
    "another method",
    () => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 405 Method Not Allowed | Expected the method CONNECT",
  ],
  [
    "a head without an end",
    () => `CONNECT a:1 HTTP/1.1\r\n${"a: b\r\n".repeat(200_000)}`,
    "HTTP/1.1 431 Request Header Fields Too Large | Expected a head of at most 8192 bytes",
  ],
  [
    "a head that is too long",
    ({ request }: { request: string }) => request.replace("\r\n\r\n", `\r\na: ${"b".repeat(8192)}\r\n\r\n`),
    "HTTP/1.1 431 Request Header Fields Too Large | Expected a head of at most 8192 bytes",
  ],
])("a client with %s is told so, and is not connected", async (_, request, answer) => {
  await using server = await startGate(echo);
  server.claim();
  const tunnel = server.open(request(server.claim()));
  expect(summarize(await tunnel.closed)).toBe(answer);
  expect(server.asked).toEqual([]);
});

test("a client is told that its lease has ended", async () => {
  await using server = await startGate(echo);
  const { leaseId, request } = server.claim();
  server.ledger.release(leaseId);
  expect(summarize(await server.open(request).closed)).toBe(NO_LEASE);
});

test("a client is told why there is no process", async () => {
  const reason = "The data-plane process has died: it exited with status 1";
  await using server = await startGate(echo, { connect: () => Promise.reject(new Error(reason)) });
  const answer = summarize(await server.open(server.claim().request).closed);
  expect(answer).toBe(`HTTP/1.1 503 Service Unavailable | ${reason}`);
});

test("a client that sends no complete request, or no handshake, is not waited for", async () => {
  await using server = await startGate(echo, { headTimeout: 50 });
  const tunnel = server.open("CONNECT lease-1:1 HTTP/1.1\r\n");
  expect(summarize(await tunnel.closed)).toBe("HTTP/1.1 408 Request Timeout | The request took too long");
  const silent = connectTcp(server.gate.port, "127.0.0.1");
  silent.on("error", () => {});
  await once(silent, "close");
});

test("the connections of a lease end with it, in the middle of a transfer, and those of others go on", async () => {
  await using server = await startGate((socket) => {
    const send = () => socket.write(Buffer.alloc(65_536)) && setImmediate(send);
    socket.on("drain", send).on("data", send);
  });
  const [ending, other] = [server.claim(), server.claim()];
  const [endingTunnel, otherTunnel] = [server.open(`${ending.request}go`), server.open(other.request)];
  await otherTunnel.received(isConnected);
  await endingTunnel.received((text) => text.length > 1_000_000);
  const closed = Promise.all([endingTunnel.closed, closeOf(server.sockets[0] as Socket)]);
  server.ledger.release(ending.leaseId);
  await closed;
  otherTunnel.socket.write("go");
  await otherTunnel.received((text) => text.length > 1_000_000);
});

test("a lease that ends while its process starts is not connected", async () => {
  const started = Promise.withResolvers<void>();
  const waiting = Promise.withResolvers<{ hostname: string; port: number }>();
  await using server = await startGate(echo, {
    connect: () => {
      started.resolve();
      return waiting.promise;
    },
  });
  const { leaseId, request } = server.claim();
  const tunnel = server.open(request);
  await started.promise;
  server.ledger.release(leaseId);
  waiting.reject(new Error("The lease has ended"));
  expect(summarize(await tunnel.closed)).toBe("HTTP/1.1 503 Service Unavailable | The lease has ended");
});

test("either end may stop sending first, and still receives", async () => {
  await using server = await startGate((socket) => {
    const hash = createHash("sha256");
    socket.on("data", (bytes: Buffer) => hash.update(bytes));
    socket.on("end", () => socket.end(`${hash.digest("hex")}${numbers(500_000)}`));
  });
  const { request } = server.claim();
  const tunnel = server.open(request);
  await tunnel.received(isConnected);
  tunnel.socket.end(numbers(600_000), "latin1");
  const received = (await tunnel.closed).slice(CONNECTED.length);
  expect(received.slice(0, 64)).toBe(digest(numbers(600_000)));
  expect(digest(received.slice(64))).toBe(digest(numbers(500_000)));
});

test("openGate() tells that a client has left when it closes the connection, and when it sends no more", async () => {
  await using server = await startGate(ignore);
  const { request } = server.claim();
  const tunnels = [server.open(request), server.open(request), server.open(request)] as const;
  await Promise.all(tunnels.map((tunnel) => tunnel.received(isConnected)));
  tunnels[0].socket.destroy();
  tunnels[1].socket.end();
  while (server.left.filter(({ aborted }) => aborted).length < 2) await Bun.sleep(1);
  tunnels[2].socket.write("text");
  expect(server.left.filter(({ aborted }) => !aborted)).toHaveLength(1);
});

test("a client receives all that its process has sent before it closed the connection", async () => {
  await using server = await startGate((socket) => void socket.end(numbers(200_000)).resume());
  const received = (await server.open(server.claim().request).closed).slice(CONNECTED.length);
  expect(digest(received)).toBe(digest(numbers(200_000)));
});

/** More than sockets and TLS hold, in bytes: what is sent to a peer that does not read must stay below. */
const BUFFERED = 24 * 1024 * 1024;
const FLOOD = 4 * BUFFERED;

/** Writes FLOOD bytes to a socket while it takes them. Returns a function that tells how many were taken. */
function flood(socket: Pick<Socket, "write" | "on" | "writableLength">): () => number {
  let written = 0;
  const send = () => {
    while (written < FLOOD) {
      written += 65_536;
      if (!socket.write(Buffer.alloc(65_536, written / 65_536))) return;
    }
  };
  socket.on("drain", send);
  send();
  return () => written - socket.writableLength;
}

/** Waits until a number does not grow for 20 turns of 10 ms. */
async function settled(value: () => number): Promise<number> {
  for (let [last, same] = [value(), 0]; ; last = value()) {
    await Bun.sleep(10);
    same = value() === last ? same + 1 : 0;
    if (same === 20) return last;
  }
}

test("a client that does not read holds up its process, and takes no memory", async () => {
  let sent = () => 0;
  await using server = await startGate((socket) => {
    sent = flood(socket);
  });
  const tunnel = server.open("");
  await once(tunnel.socket, "secureConnect");
  tunnel.socket.write(server.claim().request);
  tunnel.socket.pause();
  while (sent() === 0) await Bun.sleep(10);
  expect(await settled(() => sent())).toBeLessThan(BUFFERED);
  tunnel.socket.resume();
  await tunnel.received((text) => text.length === FLOOD + CONNECTED.length);
});

test("a process that does not read holds up its client, and takes no memory", async () => {
  await using server = await startGate((socket) => void socket.pause());
  const tunnel = server.open(server.claim().request);
  await tunnel.received(isConnected);
  expect(await settled(flood(tunnel.socket))).toBeLessThan(BUFFERED);
  let received = 0;
  const [process] = server.sockets as [Socket];
  const complete = Promise.withResolvers<void>();
  process.on("data", (bytes: Buffer) => {
    received += bytes.length;
    if (received === FLOOD) complete.resolve();
  });
  process.resume();
  await complete.promise;
});

test("200 connections at once each receive their own bytes", async () => {
  await using server = await startGate(echo);
  const { request } = server.claim();
  const tunnels = Array.from({ length: 200 }, (_, index) => server.open(`${request}${index} `.padEnd(2000)));
  const received = await Promise.all(
    tunnels.map((tunnel) => tunnel.received((text) => text.length >= CONNECTED.length + 2000 - request.length)),
  );
  expect(received.map((text) => Number.parseInt(text.slice(CONNECTED.length), 10))).toEqual(
    tunnels.map((_, index) => index),
  );
});

test("a lease has at most 512 connections, and others are not affected", async () => {
  await using server = await startGate(echo);
  const { request } = server.claim();
  const tunnels = Array.from({ length: 512 }, () => server.open(request));
  await Promise.all(tunnels.map((tunnel) => tunnel.received(isConnected)));
  const answer = summarize(await server.open(request).closed);
  expect(answer).toBe("HTTP/1.1 429 Too Many Requests | The lease has 512 connections, the most that it may have");
  await server.open(server.claim().request).received(isConnected);
  tunnels[0]?.socket.destroy();
  await closeOf(server.sockets[0] as Socket);
  await server.open(request).received(isConnected);
}, 20_000);

test("new connections get a new certificate, and those that are open go on", async () => {
  await using server = await startGate(echo);
  const tunnel = server.open(server.claim().request);
  await tunnel.received(isConnected);
  const validity = { now: Date.now(), lifetime: 3600_000 };
  const other = await createAuthority("other", validity);
  const hosts = ["localhost"];
  const certificate = await issueServerCertificate(other, { subject: "server", hosts, ...validity });
  server.gate.useTls(certificate);
  const refused = server.open(server.claim().request);
  const [error] = await once(refused.socket, "error");
  expect(error.code).toMatch(/UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED/);
  tunnel.socket.write("text");
  await tunnel.received((text) => text.endsWith("text"));
  server.gate.useTls(TEST_SERVER);
  await server.open(server.claim().request).received(isConnected);
});

test("openGate() fails if another program uses the port, also another gate", async () => {
  await using server = await startGate(ignore);
  const open = (port: number) => () =>
    openGate({
      port,
      host: "127.0.0.1",
      tls: TEST_SERVER,
      ledger: server.ledger,
      connect: () => Promise.reject(new Error("unused")),
      log: silentLog,
    });
  expect(open(await usedPort())).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
  expect(open(server.gate.port)).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
});
