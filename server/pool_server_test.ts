import { expect, test } from "bun:test";
import { once } from "node:events";
import { mkdtempDisposable } from "node:fs/promises";
import { type ClientHttp2Session, connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import { silentLog } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createAuthority } from "../tls/authority.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { simulatedGpus } from "./gpus/simulated.ts";
import { createLeaseStore } from "./leases/lease_store.ts";
import { startServer } from "./pool_server.ts";
import { TEST_RULES } from "./testing.ts";

/** Whether a session answers a ping. */
function answers(session: ClientHttp2Session): Promise<boolean> {
  return new Promise((resolve) => session.ping((error) => resolve(error === null)));
}

/** Starts a server with two GPUs, whose leases are in a file. */
async function startWithStore(path: string, clients = [TEST_RULES]) {
  const server = await startServer({
    port: 0,
    host: "127.0.0.1",
    tls: TEST_SERVER,
    facts: { hostname: "server", hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" },
    gpus: simulatedGpus({ count: 2, memory: 16_000, model: "Simulated GPU" }, "server"),
    clients,
    timeToLive: 600_000,
    podTimeToLive: 600_000,
    store: createLeaseStore({ path, log: silentLog }),
    drain: 50,
    log: silentLog,
  });
  const channel = connectTls(`127.0.0.1:${server.port}`, TEST_CLIENT);
  return {
    ...server,
    client: createClient(PoolService, channel.transport),
    async [Symbol.asyncDispose]() {
      channel[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

test("a restarted server knows its leases, so that nobody takes their units before they are renewed", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "leases-"));
  const path = join(folder.path, "leases.json");
  const percent = (value: number) => ({ gpus: 1, share: { case: "percent", value } as const, gpuIds: ["server/0"] });
  const before = await startWithStore(path);
  const held = await before.client.claim(percent(60));
  const released = await before.client.claim(percent(40));
  await before.client.release({ leaseId: released.lease?.id ?? "" });
  const leaseId = held.lease?.id ?? "";
  await before[Symbol.asyncDispose]();

  const after = await startWithStore(path);
  expect(after.ledger.leases().map(({ id }) => id)).toEqual([leaseId]);
  await expect(after.client.claim(percent(41))).rejects.toThrow("are available");
  expect((await after.client.renewLeases({ leases: [{ leaseId }] })).renewals[0]?.timeToLive).toBeDefined();
  for await (const { gpus } of after.client.attachLease({ leaseId, secret: held.secret })) {
    expect(gpus).toMatchObject([{ gpuId: "server/0", units: 60 }]);
    break;
  }
  await after[Symbol.asyncDispose]();

  await using changed = await startWithStore(path, [{ ...TEST_RULES, gpus: [1] }]);
  expect(changed.ledger.leases()).toEqual([]); // the GPU is the client's no more
});

test("useTls() keeps connections when the certificate changes, and closes them when the clients' CA changes", async () => {
  await using server = await startServer({
    port: 0,
    host: "127.0.0.1",
    tls: TEST_SERVER,
    facts: { hostname: "server", hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" },
    gpus: [],
    clients: [TEST_RULES],
    timeToLive: 600_000,
    podTimeToLive: 600_000,
    drain: 50,
    log: silentLog,
  });
  const session = connect(`https://127.0.0.1:${server.port}`, { ...TEST_CLIENT });
  session.on("error", () => {});
  await once(session, "remoteSettings");
  server.useTls({ ...TEST_SERVER });
  expect(await answers(session)).toBe(true);
  const closed = once(session, "close");
  const other = await createAuthority("other-ca", { now: Date.now(), lifetime: 3600_000 });
  server.useTls({ ...TEST_SERVER, ca: other.certificate.toString("pem") });
  await closed;
  const refused = connect(`https://127.0.0.1:${server.port}`, { ...TEST_CLIENT });
  refused.on("error", () => {});
  await once(refused, "close");
});
