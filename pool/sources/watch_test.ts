import { expect, test } from "bun:test";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { serveGrpc } from "../../grpc/server.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { startInventoryServer } from "./testing.ts";
import { watchServer } from "./watch.ts";

const GPU = { id: "a", model: "Tesla T4", memoryMb: 16_000n, healthy: true };

test("watchServer() gives the server's GPUs and what it tells of itself, again and again", async () => {
  await using server = await startInventoryServer({ gpus: 2, memoryMb: 8000 });
  let times = 0; // the last one comes after more than 900 ms
  for await (const told of watchServer(server.address, { silence: 900, signal: AbortSignal.timeout(4000) })) {
    expect(told).toEqual({ gpus: server.gpus, facts: server.facts });
    times += 1;
    if (times === 5) break;
  }
  expect(times).toBe(5);
});

test.each([
  [3000, 1000],
  [150, 100],
])("watchServer() that allows %d ms of silence asks for a heartbeat each %d ms", async (silence, heartbeat) => {
  let asked: number | undefined;
  await using server = await serveGrpc({
    listen: { port: 0 },
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory({ heartbeatInterval }) {
          asked = heartbeatInterval && durationMs(heartbeatInterval);
          yield {};
        },
      }),
  });
  await failure(watchServer(`127.0.0.1:${server.port}`, { silence, signal: AbortSignal.timeout(4000) }));
  expect(asked).toBe(heartbeat);
});

test("watchServer() throws when the server says nothing more", async () => {
  const ended = Promise.withResolvers<void>();
  await using server = await serveGrpc({
    listen: { port: 0 },
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory(_, { signal }) {
          signal.addEventListener("abort", () => ended.resolve(), { once: true });
          yield { inventory: { hostname: "a", gpus: [GPU] } };
          await ended.promise;
        },
      }),
  });
  const watching = watchServer(`127.0.0.1:${server.port}`, { silence: 200, signal: AbortSignal.timeout(4000) });
  expect(await failure(watching)).toContain("Heard nothing for 200 ms");
  await ended.promise;
});

test("watchServer() throws when the server ends the stream, with an error and without", async () => {
  let error: Error | undefined;
  await using server = await serveGrpc({
    listen: { port: 0 },
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory() {
          yield { inventory: { hostname: "a", gpus: [GPU] } };
          if (error) throw error;
        },
      }),
  });
  const options = { silence: 3000, signal: AbortSignal.timeout(4000) };
  expect(await failure(watchServer(`127.0.0.1:${server.port}`, options))).toBe("The server has ended the stream");
  error = new Error("out of order");
  expect(await failure(watchServer(`127.0.0.1:${server.port}`, options))).toContain("internal");
});

/** The message of what an iteration throws in the end. */
async function failure(iterable: AsyncIterable<unknown>): Promise<string | undefined> {
  try {
    for await (const _ of iterable);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
