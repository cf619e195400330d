import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Certificate, createCertificate } from "../../tls/certificate.ts";
import { createHttpsServer, type HttpsServer, type HttpsServerOptions } from "./server.ts";

const [first, second] = await Promise.all([
  createCertificate(["localhost"], Date.now()),
  createCertificate(["localhost"], Date.now()),
]);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function start(
  fetch: HttpsServerOptions["fetch"],
  options: Omit<HttpsServerOptions, "port" | "fetch"> = {},
): HttpsServer {
  const server = createHttpsServer({ port: 0, fetch, retirement: 100, farewell: 0, ...options });
  cleanups.push(() => server[Symbol.asyncDispose]());
  return server;
}

/** Sends a request on a new connection that trusts the certificate's CA. Returns the body, or "refused". */
async function send(port: number, { ca }: Certificate, init: BunFetchRequestInit = {}): Promise<string> {
  const request = fetch(`https://localhost:${port}/`, { keepalive: false, ...init, tls: { ca } });
  return request.then(
    (response) => response.text(),
    () => "refused",
  );
}

/** Resolves when the socket is closed, also by a reset. */
function untilClosed(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Opens a connection that is kept alive. `get` sends a request on it, and returns the header of the response. */
async function openConnection(port: number, { ca }: Certificate) {
  const socket = connectTls({ port, host: "localhost", ca });
  cleanups.push(() => socket.destroy());
  const closed = untilClosed(socket);
  await once(socket, "secureConnect");
  async function get(): Promise<string> {
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const [header] = (await once(socket, "data")) as [Buffer];
    return String(header).toLowerCase();
  }
  return { get, closed };
}

test("use() closes each connection of the replaced certificate after its next response, and no idle one", async () => {
  const server = start(() => new Response("served"), { retirement: 60_000 });
  const port = await server.use(first);
  const { get, closed } = await openConnection(port, first);
  expect(await get()).not.toContain("connection: close");
  await server.use(second);
  expect(await get()).toStartWith("http/1.1 200");
  await closed;
});

test("a replaced certificate's listener adds Connection: close to the response of a request in flight", async () => {
  const [arrived, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const server = start(
    async () => {
      arrived.resolve();
      await finish.promise;
      return new Response("late");
    },
    { retirement: 60_000 },
  );
  const port = await server.use(first);
  const { get, closed } = await openConnection(port, first);
  const response = get();
  await arrived.promise;
  await server.use(second);
  finish.resolve();
  expect(await response).toContain("connection: close");
  await closed;
});

test("disposal closes connections after their next response for a while before it closes the port", async () => {
  const server = start(() => new Response("served"), { farewell: 1000 });
  const port = await server.use(first);
  const early = await openConnection(port, first);
  await early.get();
  const disposed = server[Symbol.asyncDispose]();
  const late = await openConnection(port, first);
  for (const { get, closed } of [early, late]) {
    const response = await get();
    expect([response.startsWith("http/1.1 200"), response.includes("connection: close")]).toEqual([true, true]);
    await closed;
  }
  await disposed;
});

test("an idle connection is closed after idleTimeout", async () => {
  const server = start(() => new Response("served"), { idleTimeout: 1 });
  const { get, closed } = await openConnection(await server.use(first), first);
  await get();
  await closed;
}, 9000); // Bun's own limit of 10 s closes it after 12 s

test("use() serves with the certificate", async () => {
  const port = await start(() => new Response("served")).use(first);
  expect(await send(port, first)).toBe("served");
  expect(await send(port, second)).toBe("refused");
});

test("use() replaces the certificate on the same port without failed requests on keep-alive connections", async () => {
  const body = JSON.stringify({ pod: "x".repeat(2000) });
  // longer than a client pauses between two requests, also on a busy machine
  const server = start(async (request) => new Response(await request.text()), { retirement: 1500 });
  const port = await server.use(first);
  const counts = Array.from({ length: 8 }, () => 0);
  let isReplaced = false;
  async function load(client: number): Promise<number> {
    let after = 0;
    while (after < 20) {
      const ca = `${first.ca}\n${second.ca}`;
      const response = await fetch(`https://localhost:${port}/`, { method: "POST", body, tls: { ca } });
      expect(await response.text()).toBe(body);
      counts[client] = (counts[client] ?? 0) + 1;
      if (isReplaced) after++;
      if (counts.every((count) => count >= 5)) warm.resolve();
    }
    return after;
  }
  const warm = Promise.withResolvers<void>();
  const loads = Promise.all(counts.map((_, client) => load(client)));
  await Promise.race([warm.promise, loads]);
  expect(await server.use(second)).toBe(port);
  isReplaced = true;
  expect(await loads).toEqual(counts.map(() => 20));
  // the kernel distributes connections to both listeners until the first stops
  while ((await send(port, second)) === "refused");
});

test("use() completes a request in flight", async () => {
  const [arrived, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const server = start(async () => {
    arrived.resolve();
    await finish.promise;
    return new Response("late");
  });
  const port = await server.use(first);
  const late = send(port, first);
  await arrived.promise;
  await server.use(second);
  finish.resolve();
  expect(await late).toBe("late");
});

test("the server keeps serving after a client aborts its request", async () => {
  const arrived = Promise.withResolvers<void>();
  const response = Promise.withResolvers<Response>();
  const server = start(({ url }) => {
    if (!url.endsWith("/slow")) return new Response("served");
    arrived.resolve();
    return response.promise;
  });
  const port = await server.use(first);
  const aborted = new AbortController();
  const slow = fetch(`https://localhost:${port}/slow`, { tls: { ca: first.ca }, signal: aborted.signal }).catch(String);
  await arrived.promise;
  aborted.abort();
  await slow;
  response.resolve(new Response("late"));
  expect(await send(port, first)).toBe("served");
});

test("the server responds with 413 to a body of 8 MiB, and accepts one of 6 MiB", async () => {
  const server = start(async (request) => new Response(String((await request.arrayBuffer()).byteLength)));
  const port = await server.use(first);
  const post = (mebibytes: number) => ({ method: "POST", body: new Uint8Array(mebibytes * 1024 * 1024) });
  expect(await send(port, first, post(6))).toBe(String(6 * 1024 * 1024));
  const refused = await fetch(`https://localhost:${port}/`, { ...post(8), keepalive: false, tls: { ca: first.ca } });
  expect(refused.status).toBe(413);
});

test("the server responds with 413 to a body without Content-Length once it exceeds the limit, and reads no further", async () => {
  const server = start(async (request) => new Response(String((await request.arrayBuffer()).byteLength)));
  const port = await server.use(first);
  const socket = connectTls({ port, host: "localhost", ca: first.ca });
  cleanups.push(() => socket.destroy());
  let response = "";
  socket.on("data", (data) => {
    response += data;
  });
  socket.write("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  const mebibyte = Buffer.from(`100000\r\n${"x".repeat(1024 * 1024)}\r\n`);
  let sent = 0;
  let isOpen = true;
  const closed = untilClosed(socket).then(() => {
    isOpen = false;
  });
  while (isOpen && sent < 200) {
    sent += 1;
    if (!socket.write(mebibyte)) await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
  }
  await closed;
  expect(response).toStartWith("HTTP/1.1 413");
  expect(sent).toBeLessThan(100);
});

test("disposal closes the port, and works if the server never served", async () => {
  await start(() => new Response())[Symbol.asyncDispose]();
  const server = start(() => new Response("served"));
  const port = await server.use(first);
  expect(await send(port, first)).toBe("served");
  await server[Symbol.asyncDispose]();
  const refused = await new Promise<unknown>((resolve) => {
    const socket = connect(port, "localhost", () => resolve("connected"));
    socket.on("error", resolve);
    cleanups.push(() => socket.destroy());
  });
  expect(refused).toMatchObject({ code: "ECONNREFUSED" });
});

test("disposal completes a request in flight", async () => {
  const [arrived, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const server = start(async () => {
    arrived.resolve();
    await finish.promise;
    return new Response("late");
  });
  const late = send(await server.use(first), first);
  await arrived.promise;
  const disposed = server[Symbol.asyncDispose]();
  finish.resolve();
  expect(await late).toBe("late");
  await disposed;
});

test("use() fails if the port is in use", async () => {
  const port = await start(() => new Response()).use(first);
  const other = createHttpsServer({ port, fetch: () => new Response() });
  expect(await other.use(first).then(String, String)).toContain(`Cannot listen on PORT="${port}": it is in use`);
});
