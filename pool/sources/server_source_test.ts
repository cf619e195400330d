import { expect, test } from "bun:test";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { serveGrpc } from "../../grpc/server.ts";
import { createRecordingLog, freePort, silentLog } from "../../program/testing.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createCertificate } from "../../tls/certificate.ts";
import { TEST_SERVER } from "../../tls/testing.ts";
import type { ObservedServer } from "../inventory.ts";
import { createServerSource } from "./server_source.ts";
import { serveWatch, startInventoryServer, TEST_IDENTITY } from "./testing.ts";
import { createWatchedServers } from "./watched_servers.ts";

const GPU = { id: "a", model: "Tesla T4", memoryMb: 16_000n, healthy: true };

/** Follows the server at an address until disposal. */
function follow(address: string, interval = 600, log = silentLog) {
  const stop = new AbortController();
  const states = createServerSource({ ...TEST_IDENTITY, interval, log })(address, stop.signal)[Symbol.asyncIterator]();
  return {
    stop: () => stop.abort(),
    next: async (): Promise<ObservedServer | undefined> => (await states.next()).value,
    /** Returns the first following state that `matches`. */
    async until(matches: (server: ObservedServer) => boolean): Promise<ObservedServer> {
      for (;;) {
        const { done, value } = await states.next();
        if (done) throw new Error("The source has ended");
        if (matches(value)) return value;
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await states.return?.();
    },
  };
}

const isReachable = ({ reachable }: ObservedServer) => reachable;
const isUnreachable = ({ reachable }: ObservedServer) => !reachable;

test.concurrent("createServerSource() yields a server's GPUs, keeps them when it crashes, and yields them again when it returns", async () => {
  const port = await freePort();
  const first = await startInventoryServer({ port, gpus: 2 });
  await using server = follow(first.address);
  const { address, gpus, facts } = first;
  expect(await server.until(({ gpus }) => gpus !== undefined)).toEqual({ address, reachable: true, gpus, facts });
  await first[Symbol.asyncDispose]();
  expect(await server.until(isUnreachable)).toEqual({ address, reachable: false, gpus, facts });
  await using second = await startInventoryServer({ port, gpus: 3 });
  expect(await server.until(({ gpus }) => gpus?.length === 3)).toEqual({
    address,
    reachable: true,
    gpus: second.gpus,
    facts,
  });
});

test.concurrent("createServerSource() yields each change of the GPUs, but no heartbeats", async () => {
  const health = [true, true, false, false, true];
  await using server = await serveWatch(async function* (_, { signal }) {
    for (const healthy of health) yield { inventory: { hostname: "a", gpus: [{ ...GPU, healthy }] } };
    await once(signal, "abort");
  });
  await using followed = follow(`127.0.0.1:${server.port}`, 6000);
  const first = await followed.until(({ gpus }) => gpus !== undefined);
  const states = [first, await followed.next(), await followed.next()];
  expect(states.map((state) => state?.gpus?.[0]?.healthy)).toEqual([true, false, true]);
});

test.concurrent("createServerSource() leaves out a GPU that no share could be counted on, keeps its siblings, and logs it once", async () => {
  const lines: string[] = [];
  await using server = await serveWatch(async function* (_, { signal }) {
    yield { inventory: { hostname: "a", gpus: [{ ...GPU, id: "b", memoryMb: 0n }, GPU] } };
    yield { inventory: { hostname: "a", gpus: [{ ...GPU, id: "b", memoryMb: 0n }, GPU, { ...GPU, id: "c" }] } };
    await once(signal, "abort");
  });
  await using followed = follow(`127.0.0.1:${server.port}`, 6000, createRecordingLog(lines));
  expect(await followed.until(isReachable)).toMatchObject({ gpus: [{ id: "a" }] });
  expect(await followed.next()).toMatchObject({ gpus: [{ id: "a" }, { id: "c" }] });
  expect(lines.filter((line) => line.startsWith("GPU"))).toEqual([
    "GPU ignored: gpus.0.memoryMb is 0: expected a whole number of MB from 1 to 999999999",
  ]);
});

test.concurrent("createServerSource() keeps a server reachable after one broken connection", async () => {
  let calls = 0;
  await using server = await serveWatch(async function* (_, { signal }) {
    calls += 1;
    yield { inventory: { hostname: "a", gpus: [{ ...GPU, memoryMb: BigInt(calls) }] } };
    if (calls === 1) throw new Error("Connection lost");
    await once(signal, "abort");
  });
  const address = `127.0.0.1:${server.port}`;
  await using followed = follow(address, 6000);
  expect(await followed.until(isReachable)).toMatchObject({ gpus: [{ memoryMb: 1 }] });
  expect(await followed.next()).toMatchObject({ reachable: true, failing: true, gpus: [{ memoryMb: 1 }] });
  const next = await followed.next();
  expect(next).toMatchObject({ reachable: true, gpus: [{ memoryMb: 2 }] });
  expect(next?.failing).toBeUndefined();
});

test.concurrent("a server whose heartbeat is late is failing until it comes", async () => {
  const isLate = Promise.withResolvers<void>();
  let calls = 0;
  await using server = await serveWatch(async function* (_, { signal }) {
    calls += 1;
    yield { inventory: { hostname: "a", gpus: [GPU] } };
    await isLate.promise;
    yield {};
    await once(signal, "abort");
  });
  await using followed = follow(`127.0.0.1:${server.port}`, 1200);
  expect(await followed.until(isReachable)).toMatchObject({ gpus: [{ id: "a" }] });
  expect(await followed.next()).toMatchObject({ reachable: true, failing: true });
  isLate.resolve();
  const next = await followed.next();
  expect([next?.reachable, next?.failing, calls]).toEqual([true, undefined, 1]);
});

test.concurrent("createServerSource() keeps a server reachable during a restart with several failed connections", async () => {
  const port = await freePort();
  const first = await startInventoryServer({ port, gpus: 1 });
  await using followed = follow(first.address, 12_000);
  await followed.until(({ gpus }) => gpus?.length === 1);
  await first[Symbol.asyncDispose]();
  expect(await followed.next()).toMatchObject({ reachable: true, failing: true });
  const next = followed.next();
  await using starting = await startTcpServer((socket) => socket.destroy(), port);
  for (let attempt = 0; attempt < 3; attempt++) await starting.connections.next();
  await starting[Symbol.asyncDispose]();
  await using second = await startInventoryServer({ port, gpus: 2 });
  expect(await next).toMatchObject({ reachable: true, gpus: second.gpus });
});

test.concurrent("createServerSource() yields a server that is down as unreachable immediately, and as reachable later", async () => {
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  await using server = follow(address);
  expect(await server.next()).toEqual({ address, reachable: false });
  await using late = await startInventoryServer({ port });
  expect(await server.until(({ gpus }) => gpus !== undefined)).toEqual({
    address,
    reachable: true,
    gpus: late.gpus,
    facts: late.facts,
  });
});

test.concurrent.each<[description: string, start: () => Promise<AsyncDisposable & { address: string }>]>([
  ["accepts connections and is silent", () => startTcpServer()],
  ["closes connections", () => startTcpServer((socket) => socket.destroy())],
  ["closes connections after a request", () => startTcpServer((socket) => socket.once("data", () => socket.destroy()))],
  [
    "answers without TLS",
    () => startTcpServer((socket) => socket.once("data", () => socket.end("HTTP/1.1 404\r\n\r\n"))),
  ],
  ["has a certificate of another CA", startTlsServer],
  ["has not sent its inventory yet", () => startPool(() => once(new AbortController().signal, "abort"))],
  ["fails", () => startPool(() => Promise.reject(new Error("The driver does not respond")))],
  ["refuses the client", () => startPool(() => Promise.reject(new ConnectError("Who?", Code.PermissionDenied)))],
  ["ends the watch", () => startPool(() => Promise.resolve())],
  ["has other services", () => startServer(() => {})],
])("a server that %s is not reachable", async (_, start) => {
  await using server = await start();
  await using followed = follow(server.address, 1500);
  expect(await followed.next()).toEqual({ address: server.address, reachable: false });
});

test.concurrent("without an identity, a server that accepts connections is reachable and foreign, until it stops", async () => {
  await using server = await startTcpServer();
  const { address } = server;
  const stop = new AbortController();
  const source = createServerSource({ tls: () => undefined, interval: 300, log: silentLog });
  const states = source(address, stop.signal)[Symbol.asyncIterator]();
  expect((await states.next()).value).toEqual({ address, reachable: true, foreign: true });
  await server[Symbol.asyncDispose]();
  expect((await states.next()).value).toEqual({ address, reachable: true, failing: true, foreign: true });
  expect((await states.next()).value).toEqual({ address, reachable: false, foreign: true });
  stop.abort();
});

test.concurrent("createServerSource() says why a server is not reachable", async () => {
  await using server = await startTcpServer();
  await using closing = await startTcpServer((socket) => socket.destroy());
  const lines: string[] = [];
  const source = createServerSource({ ...TEST_IDENTITY, interval: 1500, log: createRecordingLog(lines) });
  for await (const _ of source(server.address, AbortSignal.timeout(4000))) break;
  for await (const _ of source(closing.address, AbortSignal.timeout(4000))) break;
  for await (const _ of source(`127.0.0.1:${await freePort()}`, AbortSignal.timeout(4000))) break;
  expect(lines).toEqual([
    "Pool server is not reachable: No message for 1125 ms",
    "Pool server is not reachable: [aborted] Client network socket disconnected before secure TLS connection was established",
    "Pool server is not reachable: It accepts no connections",
  ]);
});

test.concurrent("createServerSource() yields a silent server within seconds, even if the interval is long", async () => {
  await using tcpServer = await startTcpServer();
  await using server = follow(tcpServer.address, 60_000);
  expect(await server.next()).toEqual({ address: tcpServer.address, reachable: false });
});

test.concurrent("createServerSource() yields the GPUs of a server that reports them only later", async () => {
  let calls = 0;
  await using server = await serveWatch(async function* (_, { signal }) {
    calls += 1;
    if (calls > 1) yield { inventory: { hostname: "a", gpus: [GPU] } };
    await once(signal, "abort");
  });
  const address = `127.0.0.1:${server.port}`;
  await using followed = follow(address, 90);
  expect(await followed.next()).toEqual({ address, reachable: false });
  expect(await followed.until(({ gpus }) => gpus !== undefined)).toMatchObject({
    reachable: true,
    gpus: [{ id: "a" }],
  });
});

test.concurrent("createServerSource() yields a server that hangs as unreachable until it continues", async () => {
  const script = `
    import { startInventoryServer } from ${JSON.stringify(join(import.meta.dir, "testing.ts"))};
    const tls = ${JSON.stringify(TEST_SERVER)};
    console.log(JSON.stringify({ port: (await startInventoryServer({ tls })).port }));`;
  await using child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  using _killed = { [Symbol.dispose]: () => child.kill("SIGKILL") }; // a stopped process does not end by SIGTERM
  const address = `127.0.0.1:${await portOf(child.stdout)}`;
  await using server = follow(address);
  const state = await server.until(({ gpus }) => gpus !== undefined);
  expect(state.gpus ?? []).toMatchObject([{ model: "Simulated GPU", memoryMb: 16_000, healthy: true }]);
  child.kill("SIGSTOP");
  expect(await server.until(isUnreachable)).toEqual({ ...state, reachable: false });
  child.kill("SIGCONT");
  expect(await server.until(isReachable)).toEqual({ ...state, reachable: true });
});

test.concurrent("createServerSource() reports the round-trip time of each connection, also during a watch", async () => {
  await using server = await startInventoryServer();
  const stop = new AbortController();
  const times: number[] = [];
  const measured = Promise.withResolvers<void>();
  const onRoundTrip = (address: string, time: number) => {
    expect(address).toBe(server.address);
    if (times.push(time) === 3) measured.resolve();
  };
  const source = createServerSource({ ...TEST_IDENTITY, interval: 30, log: silentLog, onRoundTrip })(
    server.address,
    stop.signal,
  );
  const following = Array.fromAsync(source);
  await measured.promise;
  stop.abort();
  await following;
  expect(Math.min(...times)).toBeGreaterThan(0);
});

test.concurrent("createServerSource() lends the connection of a watch to other calls, until the watch ends", async () => {
  const server = await startInventoryServer({ gpus: 2 });
  const watched = createWatchedServers();
  const source = createServerSource({ ...TEST_IDENTITY, interval: 3000, log: silentLog, watched });
  for await (const { failing } of source(server.address, AbortSignal.timeout(4000))) {
    if (failing) break;
    const { inventory } = (await watched.client(server.address)?.getInventory({})) ?? {};
    expect(inventory?.gpus).toHaveLength(2);
    await server[Symbol.asyncDispose]();
  }
  expect(watched.client(server.address)).toBeUndefined();
});

test.concurrent("createServerSource() ends with the signal and closes its connections", async () => {
  const ended = Promise.withResolvers<void>();
  await using server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    drain: 60_000,
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory(_, { signal }) {
          signal.addEventListener("abort", () => ended.resolve(), { once: true });
          yield { inventory: { hostname: "a", gpus: [GPU] } };
          await ended.promise;
        },
      }),
  });
  await using followed = follow(`127.0.0.1:${server.port}`, 6000);
  await followed.next();
  const next = followed.next();
  followed.stop();
  expect(await next).toBeUndefined();
  await ended.promise;
});

test.concurrent("createServerSource() ends with the signal while it waits for a first message", async () => {
  await using tcpServer = await startTcpServer();
  await using followed = follow(tcpServer.address, 60_000);
  const next = followed.next();
  // The first connection is the probe, the second one the watch.
  await tcpServer.connections.next();
  const watching = (await tcpServer.connections.next()).value as Socket;
  const closed = new Promise((resolve) => watching.once("close", resolve));
  followed.stop();
  expect(await next).toBeUndefined();
  await closed;
});

/** Starts a server with these gRPC services. */
async function startServer(routes: (router: ConnectRouter) => void) {
  const server = await serveGrpc({ listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER }, drain: 50, routes });
  return { address: `127.0.0.1:${server.port}`, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Starts a pool server whose watch sends no inventory, and ends like `end`. */
function startPool(end: () => Promise<unknown>) {
  return startServer((router) =>
    router.service(PoolService, {
      // biome-ignore lint/correctness/useYield: it is the fault that is tested
      async *watchInventory() {
        await end();
      },
    }),
  );
}

async function startTlsServer() {
  const { key, cert } = await createCertificate(["localhost"], Date.now());
  const sockets = new Set<Socket>();
  const server = createTlsServer({ key, cert }, (socket) => socket.resume().on("error", () => {}));
  server.on("connection", (socket) => sockets.add(socket)).on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Starts a server that accepts connections, calls `greet`, and sends nothing else. */
async function startTcpServer(greet: (socket: Socket) => unknown = () => {}, port = 0) {
  const sockets = new Set<Socket>();
  const server = createServer();
  const accepted = new ReadableStream<Socket>({
    start(controller) {
      server.on("connection", (socket) => {
        sockets.add(socket.resume().on("error", () => {}));
        greet(socket);
        controller.enqueue(socket);
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const bound = server.address();
  return {
    address: `127.0.0.1:${typeof bound === "object" ? bound?.port : ""}`,
    connections: accepted.values(),
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Returns the port in the first log line that has one. */
async function portOf(log: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let text = "";
  for await (const chunk of log.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const [, port] = /"port":(\d+)/.exec(text) ?? [];
    if (port) return port;
  }
  throw new Error(`The program logged no port: ${text}`);
}
