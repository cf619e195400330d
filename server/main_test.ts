import { expect, test } from "bun:test";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectTcp } from "../grpc/client.ts";
import { usedPort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";

function start(environment: Record<string, string>) {
  return Bun.spawn([process.execPath, join(import.meta.dir, "main.ts")], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

const used = await usedPort();

test.concurrent.each([
  [{ PORT: String(used) }, `Cannot listen on PORT="${used}": it is in use`],
  [{ PORT: "abc" }, 'Cannot use PORT="abc": expected a whole number from 0 to 65535'],
  [{ GPUS: "-1" }, 'Cannot use GPUS="-1": expected a whole number from 0 to 1024'],
  [
    { GPU_MEMORY: "16GB" },
    'Cannot use GPU_MEMORY="16GB": expected the memory of one GPU: MB, or a quantity such as 16G',
  ],
  [{ LEASE_TIME: "0" }, 'Cannot use LEASE_TIME="0": expected seconds from 0.1 to 3600'],
])("the pool server rejects %j in one line and exits with 2", async (environment, message) => {
  await using server = start(environment);
  const [status, stdout, stderr] = await Promise.all([server.exited, server.stdout.text(), server.stderr.text()]);
  expect([status, stdout, stderr]).toEqual([2, "", `bitfusion-server: ${message}\n`]);
});

test.concurrent("the pool server has the configured GPUs, and exits with 0 on SIGTERM", async () => {
  await using server = start({ PORT: "0", GPUS: "2", GPU_MEMORY: "8000", SERVER_NAME: "gpu-1", LEASE_TIME: "1.001" });
  const log = server.stdout.pipeThrough(new TextDecoderStream()).values();
  const { message, port } = JSON.parse((await log.next()).value ?? "");
  expect(message).toBe("Pool server started");
  using channel = connectTcp(`127.0.0.1:${port}`);
  const client = createClient(PoolService, channel.transport);
  const { inventory } = await client.getInventory({});
  expect(inventory?.hostname).toBe("gpu-1");
  expect(inventory?.gpus).toMatchObject([{ memoryMb: 8000n }, { memoryMb: 8000n }]);
  expect(new Set(inventory?.gpus.map(({ id }) => id)).size).toBe(2);
  const { timeToLive } = await client.claim({ gpus: 1, share: { case: "percent", value: 1 } });
  expect(timeToLive).toMatchObject({ seconds: 1n, nanos: 1_000_000 });
  server.kill("SIGTERM");
  expect(await server.exited).toBe(0);
});
