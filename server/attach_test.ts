import { expect, test } from "bun:test";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import { POD_UNIT } from "../pool/token/token.ts";
import { type AttachLeaseResponse, PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createAuthority, issueClientCertificate } from "../tls/authority.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import { createTestClient, TEST_CLIENT, TEST_CLIENT_NAME } from "../tls/testing.ts";
import { type PoolServerOptions, startPoolServer } from "./testing.ts";

/** Starts a server, and clients with and without a certificate. */
async function start(options: PoolServerOptions = {}) {
  const server = await startPoolServer(options);
  const stack = new AsyncDisposableStack();
  stack.use(server);
  const connect = (tls: TlsIdentity | Pick<TlsIdentity, "ca">) =>
    createClient(PoolService, stack.use(connectTls(server.address, tls)).transport);
  return {
    server,
    cluster: connect(TEST_CLIENT),
    anonymous: connect({ ca: TEST_CLIENT.ca }),
    connect,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Claims 60 percent of a GPU. Returns what proves the lease. */
async function claim(client: Client<typeof PoolService>) {
  const { lease, secret } = await client.claim({ gpus: 1, share: { case: "percent", value: 60 } });
  return { leaseId: lease?.id ?? "", secret };
}

function attach(client: Client<typeof PoolService>, proof: { leaseId: string; secret: string }) {
  return client.attachLease(proof, { signal: AbortSignal.timeout(4000) })[Symbol.asyncIterator]();
}

/** The error by which a stream ends. */
async function endOf(stream: AsyncIterator<AttachLeaseResponse>): Promise<string> {
  try {
    while (!(await stream.next()).done);
    return "The stream ended";
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    return `${Code[code]}: ${rawMessage}`;
  }
}

function ms(time: Duration | undefined): number | undefined {
  return time && durationMs(time);
}

const NO_LEASE = "NotFound: No such lease: it has ended";

test("whoever has the secret of a lease is told its GPUs and its time, without a certificate", async () => {
  let now = 1000;
  await using pool = await start({ timeToLive: 60_000, now: () => now });
  const proof = await claim(pool.cluster);
  const stream = attach(pool.anonymous, proof);
  const first = (await stream.next()).value;
  expect(first?.gpus).toMatchObject([{ gpuId: "server/0", units: 60 }]);
  expect(ms(first?.timeToLive)).toBe(60_000);
  now += 20_000;
  expect(ms((await stream.next()).value?.timeToLive)).toBe(40_000);
});

test("a user of a lease learns at once that it was released", async () => {
  await using pool = await start();
  const proof = await claim(pool.cluster);
  const stream = attach(pool.anonymous, proof);
  await stream.next();
  await pool.cluster.release(proof);
  expect(await endOf(stream)).toBe(NO_LEASE);
});

test("a user of a lease learns that it expired, though nobody else calls the server", async () => {
  await using pool = await start({ timeToLive: 200 });
  const stream = attach(pool.anonymous, await claim(pool.cluster));
  expect(await endOf(stream)).toBe(NO_LEASE);
});

test("a user of a lease learns that the cluster was removed from the configuration", async () => {
  await using pool = await start();
  const stream = attach(pool.anonymous, await claim(pool.cluster));
  await stream.next();
  pool.server.setClients([]);
  expect(await endOf(stream)).toBe(NO_LEASE);
});

test("another secret than that of the lease attaches to nothing", async () => {
  await using pool = await start({ gpus: 2 });
  const [first, second] = [await claim(pool.cluster), await claim(pool.cluster)];
  for (const secret of ["", `${first.secret}x`, second.secret]) {
    expect(await endOf(attach(pool.anonymous, { leaseId: first.leaseId, secret }))).toBe(NO_LEASE);
  }
});

test("without a certificate, no other method answers", async () => {
  await using pool = await start();
  const proof = await claim(pool.cluster);
  const calls = [
    pool.anonymous.getInventory({ devices: ["x"] }),
    Array.fromAsync(pool.anonymous.watchInventory({})),
    claim(pool.anonymous),
    pool.anonymous.renewLeases({ leases: [proof] }),
    pool.anonymous.release(proof),
    pool.anonymous.listLeases({}),
  ];
  for (const call of calls) {
    const { code, rawMessage } = ConnectError.from(
      await call.then(
        () => undefined,
        (error) => error,
      ),
    );
    expect(`${Code[code]}: ${rawMessage}`).toBe("PermissionDenied: This method needs the certificate of a client");
  }
  expect((await pool.cluster.listLeases({})).leases).toHaveLength(1);
});

test("a certificate of another CA is refused, though none is needed", async () => {
  await using pool = await start();
  const validity = { now: Date.now(), lifetime: 3600_000 };
  const other = await createAuthority("other-ca", validity);
  const pair = await issueClientCertificate(other, { name: TEST_CLIENT_NAME, ...validity });
  const session = connectHttp2(`https://${pool.server.address}`, { ...pair, ca: TEST_CLIENT.ca });
  session.on("error", () => {});
  await once(session, "close");
});

test("a lease that a pod took itself has a time to live of its own", async () => {
  await using pool = await start({ timeToLive: 60_000, podTimeToLive: 5000, now: () => 0 });
  const pod = pool.connect(await createTestClient(TEST_CLIENT_NAME, POD_UNIT));
  const { lease, secret, timeToLive } = await pod.claim({ gpus: 1, share: { case: "percent", value: 10 } });
  const { renewals } = await pod.renewLeases({ leases: [{ leaseId: lease?.id ?? "", secret }] });
  expect([ms(timeToLive), ms(renewals[0]?.timeToLive)]).toEqual([5000, 5000]);
});
