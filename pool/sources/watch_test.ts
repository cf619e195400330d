import { expect, test } from "bun:test";
import { once } from "node:events";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { TEST_CLIENT } from "../../tls/testing.ts";
import { serveWatch, startInventoryServer } from "./testing.ts";
import { createMessagePace, watchServer } from "./watch.ts";

const GPU = { id: "a", model: "Tesla T4", memoryMb: 16_000n, healthy: true };

test("watchServer() yields the server's GPUs and facts, and again at each heartbeat, which does not have them", async () => {
  await using server = await startInventoryServer({ gpus: 2, memoryMb: 8000 });
  let count = 0; // the last message arrives after more than 900 ms
  for await (const reported of watchServer(server.address, {
    tls: TEST_CLIENT,
    messageTimeout: 900,
    signal: AbortSignal.timeout(4000),
  })) {
    expect(reported).toEqual({ gpus: server.gpus, facts: server.facts });
    count += 1;
    if (count === 3) break;
  }
  expect(count).toBe(3);
});

test.each([
  [1500, 1000],
  [75, 100],
])(
  "watchServer() with a message timeout of %d ms requests a heartbeat every %d ms",
  async (messageTimeout, heartbeat) => {
    let requested: number | undefined;
    await using server = await serveWatch(async function* ({ heartbeatInterval }) {
      requested = heartbeatInterval && durationMs(heartbeatInterval);
      yield {};
    });
    await failure(
      watchServer(`127.0.0.1:${server.port}`, { tls: TEST_CLIENT, messageTimeout, signal: AbortSignal.timeout(4000) }),
    );
    expect(requested).toBe(heartbeat);
  },
);

test("watchServer() tells that a heartbeat is overdue, before it ends", async () => {
  await using server = await serveWatch(async function* (_, { signal }) {
    yield { inventory: { hostname: "a", gpus: [GPU] } };
    await once(signal, "abort");
  });
  const events: (string | undefined)[] = [];
  const onLate = () => void events.push("late");
  const options = { tls: TEST_CLIENT, messageTimeout: 200, onLate, signal: AbortSignal.timeout(4000) };
  events.push(await failure(watchServer(`127.0.0.1:${server.port}`, options)));
  expect(events).toEqual(["late", expect.stringContaining("No message for 200 ms")]);
});

test("watchServer() goes on after a time in which this program was stopped", async () => {
  await using server = await startInventoryServer();
  let count = 0;
  const options = { tls: TEST_CLIENT, messageTimeout: 150, signal: AbortSignal.timeout(4000) };
  for await (const _ of watchServer(server.address, options)) {
    count += 1;
    if (count === 2) setImmediate(() => Bun.sleepSync(300));
    if (count === 4) break;
  }
  expect(count).toBe(4);
});

test("watchServer() throws when the server sends no more messages", async () => {
  const ended = Promise.withResolvers<void>();
  await using server = await serveWatch(async function* (_, { signal }) {
    signal.addEventListener("abort", () => ended.resolve(), { once: true });
    yield { inventory: { hostname: "a", gpus: [GPU] } };
    await ended.promise;
  });
  const watching = watchServer(`127.0.0.1:${server.port}`, {
    tls: TEST_CLIENT,
    messageTimeout: 200,
    signal: AbortSignal.timeout(4000),
  });
  expect(await failure(watching)).toContain("No message for 200 ms");
  await ended.promise;
});

test("watchServer() throws when the server ends the stream, with or without an error", async () => {
  let error: Error | undefined;
  await using server = await serveWatch(async function* () {
    yield { inventory: { hostname: "a", gpus: [GPU] } };
    if (error) throw error;
  });
  const options = { tls: TEST_CLIENT, messageTimeout: 3000, signal: AbortSignal.timeout(4000) };
  expect(await failure(watchServer(`127.0.0.1:${server.port}`, options))).toBe("The server ended the stream");
  error = new Error("failed");
  expect(await failure(watchServer(`127.0.0.1:${server.port}`, options))).toContain("internal");
});

/** Iterates to the end. Returns the message of the error, if any. */
async function failure(iterable: AsyncIterable<unknown>): Promise<string | undefined> {
  try {
    for await (const _ of iterable);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

test("createMessagePace() lets 16 small messages pass at once, and one more after a sixteenth of a second", async () => {
  const pace = createMessagePace();
  const signal = AbortSignal.timeout(4000);
  const start = performance.now();
  const burst = Promise.all(Array.from({ length: 16 }, () => pace(8, signal))).then(() => "at once");
  expect(await Promise.race([burst, new Promise((resolve) => setImmediate(resolve, "later"))])).toBe("at once");
  await pace(8, signal);
  expect(performance.now() - start).toBeGreaterThan(60);
});

test("createMessagePace() counts the GPUs of large messages, and ends a wait with the signal", async () => {
  const pace = createMessagePace();
  const stop = new AbortController();
  await pace(16_384, stop.signal);
  const waiting = pace(1_000_000, stop.signal).then(String, String);
  stop.abort();
  expect(await waiting).toContain("Abort");
});
