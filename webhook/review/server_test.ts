import { afterEach, expect, test } from "bun:test";
import { connect } from "node:net";
import { type Certificate, createCertificate } from "../../tls/certificate.ts";
import { createHttpsServer, type HttpsServer } from "./server.ts";

const [first, second] = await Promise.all([
  createCertificate(["localhost"], Date.now()),
  createCertificate(["localhost"], Date.now()),
]);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function start(fetch: (request: Request) => Response | Promise<Response>): HttpsServer {
  const server = createHttpsServer({ port: 0, fetch, retirement: 100 });
  cleanups.push(() => server[Symbol.asyncDispose]());
  return server;
}

/** The answer to a new connection that trusts one certificate's CA, or that it was refused. */
async function ask(port: number, { ca }: Certificate, init: BunFetchRequestInit = {}): Promise<string> {
  const request = fetch(`https://localhost:${port}/`, { keepalive: false, ...init, tls: { ca } });
  return request.then(
    (answer) => answer.text(),
    () => "refused",
  );
}

test("use() serves with the certificate", async () => {
  const port = await start(() => new Response("served")).use(first);
  expect(await ask(port, first)).toBe("served");
  expect(await ask(port, second)).toBe("refused");
});

test("use() replaces the certificate on the same port, and no request of a keep-alive connection fails", async () => {
  const body = JSON.stringify({ pod: "x".repeat(2000) });
  const server = start(async (request) => new Response(await request.text()));
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
  while ((await ask(port, second)) === "refused"); // the kernel deals connections to both until the first has retired
});

test("use() lets a request under way end", async () => {
  const [arrived, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const server = start(async () => {
    arrived.resolve();
    await finish.promise;
    return new Response("late");
  });
  const port = await server.use(first);
  const late = ask(port, first);
  await arrived.promise;
  await server.use(second);
  finish.resolve();
  expect(await late).toBe("late");
});

test("use() goes on after a client that left in the middle of its request", async () => {
  const arrived = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<Response>();
  const server = start(({ url }) => {
    if (!url.endsWith("/slow")) return new Response("served");
    arrived.resolve();
    return answered.promise;
  });
  const port = await server.use(first);
  const leaves = new AbortController();
  const slow = fetch(`https://localhost:${port}/slow`, { tls: { ca: first.ca }, signal: leaves.signal }).catch(String);
  await arrived.promise;
  leaves.abort();
  await slow;
  answered.resolve(new Response("late"));
  expect(await ask(port, first)).toBe("served");
});

test("use() refuses a body larger than an AdmissionReview can be with 413, and takes one of 6 MiB", async () => {
  const server = start(async (request) => new Response(String((await request.arrayBuffer()).byteLength)));
  const port = await server.use(first);
  const post = (mebibytes: number) => ({ method: "POST", body: new Uint8Array(mebibytes * 1024 * 1024) });
  expect(await ask(port, first, post(6))).toBe(String(6 * 1024 * 1024));
  const refused = await fetch(`https://localhost:${port}/`, { ...post(8), keepalive: false, tls: { ca: first.ca } });
  expect(refused.status).toBe(413);
});

test("a server that is disposed of answers no more, even when it never served", async () => {
  await start(() => new Response())[Symbol.asyncDispose]();
  const server = start(() => new Response("served"));
  const port = await server.use(first);
  expect(await ask(port, first)).toBe("served");
  await server[Symbol.asyncDispose]();
  const refused = await new Promise<unknown>((resolve) => {
    const socket = connect(port, "localhost", () => resolve("connected"));
    socket.on("error", resolve);
    cleanups.push(() => socket.destroy());
  });
  expect(refused).toMatchObject({ code: "ECONNREFUSED" });
});

test("a server that is disposed of lets the request under way end", async () => {
  const [arrived, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const server = start(async () => {
    arrived.resolve();
    await finish.promise;
    return new Response("late");
  });
  const late = ask(await server.use(first), first);
  await arrived.promise;
  const disposed = server[Symbol.asyncDispose]();
  finish.resolve();
  expect(await late).toBe("late");
  await disposed;
});

test("use() fails when the port is taken", async () => {
  const port = await start(() => new Response()).use(first);
  const other = createHttpsServer({ port, fetch: () => new Response() });
  expect(await other.use(first).then(String, String)).toContain(`Cannot listen on port ${port}: it is in use`);
});
