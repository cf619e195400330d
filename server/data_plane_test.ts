import { expect, test } from "bun:test";
import { type Client, createClient } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import { formatConnect } from "../pool/gate/request.ts";
import { silentLog, usedPort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { openDataPlane } from "./data_plane.ts";
import { processesOf } from "./dataplane/sandbox/uids.ts";
import { CAN_ISOLATE, createTestDataPlane } from "./dataplane/testing/sandboxes.ts";
import { openTunnel } from "./gate/testing/tunnel.ts";
import { type PoolServerOptions, startPoolServer } from "./testing.ts";

const ENVIRONMENT = { CUDA_VISIBLE_DEVICES: "{gpuUuids}", PERCENT: "{percent}", MEMORY: "{memoryMb}" };

/** Starts a server with a data plane, and clients with and without a certificate. */
async function start(options: PoolServerOptions = {}) {
  const stack = new AsyncDisposableStack();
  const { configuration } = stack.use(await createTestDataPlane(ENVIRONMENT));
  const server = stack.use(await startPoolServer({ gpus: 2, dataPlane: configuration, ...options }));
  const connect = (tls: Parameters<typeof connectTls>[1]) =>
    createClient(PoolService, stack.use(connectTls(server.address, tls)).transport);
  return {
    server,
    cluster: connect(TEST_CLIENT),
    anonymous: connect({ ca: TEST_CLIENT.ca }),
    open: (port: number, sent: string) => stack.use(openTunnel({ port }, sent)),
    isRunning: () => processesOf((uid) => Math.floor((uid - configuration.firstUid) / 102_400) === 0).length > 0,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function claim(client: Client<typeof PoolService>, gpus: number, percent: number) {
  const { lease, secret, gate } = await client.claim({ gpus, share: { case: "percent", value: percent } });
  return { leaseId: lease?.id ?? "", secret, gate };
}

test.skipIf(!CAN_ISOLATE)("whoever has the secret of a lease uses its GPUs and no others, until it ends", async () => {
  await using pool = await start();
  const [a, b] = [await claim(pool.cluster, 1, 60), await claim(pool.cluster, 1, 50)];
  const { gate } = a;
  const dataPlane = { name: "test", build: "1" };
  expect(gate).toMatchObject({ dataPlane });
  expect((await pool.cluster.renewLeases({ leases: [{ leaseId: a.leaseId }] })).gate).toEqual(gate);
  expect((await pool.cluster.getInventory({})).inventory).toMatchObject({ dataPlane });
  const open = ({ leaseId, secret }: typeof a) => pool.open(gate?.port ?? 0, formatConnect(leaseId, secret));
  const [tunnelA, tunnelB] = [open(a), open(b)];
  const environmentOf = async (tunnel: typeof tunnelA) => {
    tunnel.socket.write("environment\n");
    const answer = await tunnel.received((text) => text.endsWith("}\n"));
    return JSON.parse(answer.split("\r\n\r\n")[1] ?? "");
  };
  expect(await environmentOf(tunnelA)).toMatchObject({
    CUDA_VISIBLE_DEVICES: "server/0",
    PERCENT: "60",
    MEMORY: "9600",
  });
  expect(await environmentOf(tunnelB)).toMatchObject({
    CUDA_VISIBLE_DEVICES: "server/1",
    PERCENT: "50",
    MEMORY: "8000",
  });
  await pool.cluster.release(a);
  await tunnelA.closed;
  expect((await open(a).closed).split("\r\n")[0]).toBe("HTTP/1.1 407 Proxy Authentication Required");
  await environmentOf(tunnelB);
  await pool.cluster.release(b);
  await tunnelB.closed;
  while (pool.isRunning()) await Bun.sleep(20);
});

test.skipIf(!CAN_ISOLATE)(
  "connections end with a lease that nobody renews, though nobody else calls the server",
  async () => {
    let now = 0;
    await using pool = await start({ timeToLive: 60_000, now: () => now });
    const proof = await claim(pool.cluster, 2, 100);
    const tunnel = pool.open(proof.gate?.port ?? 0, formatConnect(proof.leaseId, proof.secret));
    await tunnel.received((text) => text.startsWith("HTTP/1.1 200"));
    now = 60_001;
    await tunnel.closed;
  },
);

test.skipIf(!CAN_ISOLATE)("a server that stops leaves no processes", async () => {
  let isRunning: () => boolean;
  {
    await using pool = await start();
    ({ isRunning } = pool);
    const proof = await claim(pool.cluster, 1, 100);
    const tunnel = pool.open(proof.gate?.port ?? 0, formatConnect(proof.leaseId, proof.secret));
    await tunnel.received((text) => text.startsWith("HTTP/1.1 200"));
    expect(isRunning()).toBe(true);
  }
  expect(isRunning()).toBe(false);
});

test("a server without a data plane says so", async () => {
  await using pool = await startPoolServer();
  using channel = connectTls(pool.address, TEST_CLIENT);
  const client = createClient(PoolService, channel.transport);
  expect((await claim(client, 1, 1)).gate).toBeUndefined();
});

test.skipIf(!CAN_ISOLATE)("a gate whose port is in use is named", async () => {
  await using plane = await createTestDataPlane();
  await using pool = await startPoolServer();
  const port = await usedPort();
  const { ledger } = pool;
  const { configuration } = plane;
  const options = {
    configuration,
    gatePort: port,
    host: "127.0.0.1",
    tls: TEST_SERVER,
    ledger,
    gpus: () => [],
    onUse() {},
    onProcessEnded() {},
    log: silentLog,
  };
  expect(await openDataPlane(options).then(String, ({ message }) => message)).toBe(
    `Cannot listen on gate.port="${port}": it is in use`,
  );
});
