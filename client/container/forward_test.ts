import { afterAll, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectTls } from "../../grpc/client.ts";
import { formatLeases, LEASE_FILES } from "../../pool/lease_folder.ts";
import { usedPort } from "../../program/testing.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { CAN_ISOLATE, createTestDataPlane, startPoolServer } from "../../server/testing.ts";
import { TEST_CA, TEST_CLIENT } from "../../tls/testing.ts";
import { forward } from "./forward.ts";

const root = await mkdtemp(join(tmpdir(), "forward-"));
afterAll(() => rm(root, { recursive: true }));

/** Starts a server, with a data plane or without, and takes a lease for a container. */
async function start({ hasDataPlane }: { hasDataPlane: boolean }) {
  const stack = new AsyncDisposableStack();
  const plane = hasDataPlane
    ? { dataPlane: stack.use(await createTestDataPlane({ CUDA_VISIBLE_DEVICES: "{gpuUuids}" })).configuration }
    : {};
  const server = stack.use(await startPoolServer({ gpus: 2, ...plane }));
  const client = createClient(PoolService, stack.use(connectTls(server.address, TEST_CLIENT)).transport);
  const folder = await mkdtemp(join(root, "leases-"));
  const claim = join(folder, "claim");
  await mkdir(claim);
  await writeFile(join(claim, LEASE_FILES.ca), TEST_CA.cert);
  const printed: string[] = [];
  return {
    client,
    printed,
    environment: { BITFUSION_LEASES: folder },
    /** Takes a lease on so many GPUs, which the container finds in its folder from then on. Returns its id. */
    async lease(...gpus: number[]): Promise<string> {
      const leases = [];
      for (const count of gpus) {
        const { lease, secret } = await client.claim({ gpus: count, share: { case: "percent", value: 100 } });
        leases.push({ address: server.address, leaseId: lease?.id ?? "", secret });
      }
      await writeFile(join(claim, LEASE_FILES.leases), formatLeases(leases));
      return leases[0]?.leaseId ?? "";
    },
    forward: async () =>
      stack.use(
        await forward({ environment: { BITFUSION_LEASES: folder }, port: 0, print: (line) => printed.push(line) }),
      ),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Sends a line to a port, and returns what is received until the connection is closed, or the first line. */
async function send(port: number, line: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.write(`${line}\n`);
  try {
    for await (const bytes of socket) {
      text += bytes;
      if (text.endsWith("\n")) break;
    }
  } catch {
    // the connection was reset
  }
  return text;
}

test.skipIf(!CAN_ISOLATE)(
  "forward() connects a program of the container to the process of its lease, also of its next one",
  async () => {
    await using pool = await start({ hasDataPlane: true });
    const first = await pool.lease(1);
    const { port } = await pool.forward();
    expect(JSON.parse(await send(port, "environment"))).toMatchObject({ CUDA_VISIBLE_DEVICES: "server/0" });
    await pool.client.release({ leaseId: first });
    expect(await send(port, "environment")).toBe("");
    expect(pool.printed).toEqual([
      expect.stringMatching(/^127\.0\.0\.1:\d+: \[not_found\] No such lease: it has ended$/),
    ]);
    await pool.lease(2);
    expect(JSON.parse(await send(port, "environment"))).toMatchObject({ CUDA_VISIBLE_DEVICES: "server/0,server/1" });
  },
);

test("forward() says that a server forwards no calls, and goes on", async () => {
  await using pool = await start({ hasDataPlane: false });
  await pool.lease(1);
  const { port } = await pool.forward();
  expect(await send(port, "a")).toBe("");
  expect(await send(port, "b")).toBe("");
  expect(pool.printed).toEqual(
    Array(2).fill(expect.stringMatching(/^127\.0\.0\.1:\d+: The server forwards no calls$/)),
  );
});

test("forward() rejects leases of several servers", async () => {
  await using pool = await start({ hasDataPlane: false });
  await pool.lease(1, 1);
  expect(await pool.forward().catch(({ message }) => message)).toBe(
    "The driver has given this container 2 leases: expected one, of one server",
  );
});

test("forward() names the port that is in use", async () => {
  await using pool = await start({ hasDataPlane: false });
  await pool.lease(1);
  const port = await usedPort();
  const { environment } = pool;
  expect(await forward({ environment, port, print: () => {} }).catch(({ message }) => message)).toBe(
    `Cannot listen on --port="${port}": it is in use`,
  );
});
