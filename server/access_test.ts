import { expect, test } from "bun:test";
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectTls, type GrpcChannel } from "../grpc/client.ts";
import { deviceName } from "../pool/device_name.ts";
import { POD_UNIT } from "../pool/token/token.ts";
import { PoolService, ShortageSchema } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createTestClient } from "../tls/testing.ts";
import type { ClientRules } from "./configuration/clients.ts";
import { startPoolServer } from "./testing.ts";

type PoolClient = Client<typeof PoolService>;

const IDENTITIES = {
  a: await createTestClient("a"),
  b: await createTestClient("b"),
  podOfA: await createTestClient("a", POD_UNIT),
  podOfB: await createTestClient("b", POD_UNIT),
  unitOfA: await createTestClient("a", "other"),
  stranger: await createTestClient("stranger"),
};

/** Cluster a has the first two of four GPUs, cluster b has the third. */
const CLIENTS: readonly ClientRules[] = [
  { name: "a", gpus: [0, 1], podUnits: 100 },
  { name: "b", gpus: [2], podUnits: 0 },
];

/** Starts a server with four GPUs, and clients with each identity. */
async function start() {
  const server = await startPoolServer({ gpus: 4, clients: CLIENTS });
  const channels: GrpcChannel[] = [];
  const clients = Object.fromEntries(
    Object.entries(IDENTITIES).map(([name, identity]) => {
      const channel = connectTls(server.address, identity);
      channels.push(channel);
      return [name, createClient(PoolService, channel.transport)];
    }),
  ) as Record<keyof typeof IDENTITIES, PoolClient>;
  return {
    ...clients,
    server,
    async [Symbol.asyncDispose]() {
      for (const channel of channels) channel[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function gpusSeenBy(client: PoolClient): Promise<string[] | undefined> {
  return (await client.getInventory({})).inventory?.gpus.map(({ id }) => id);
}

/** The code and message of a call that must fail. */
async function failureOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(() => undefined, ConnectError.from);
  return error ? `${Code[error.code]}: ${error.rawMessage}` : "The call succeeded";
}

function claim(client: PoolClient, gpuId: string | undefined, percent: number, gpus = 1) {
  const share = { case: "percent", value: percent } as const;
  return client.claim({ gpus, share, gpuIds: gpuId === undefined ? [] : [gpuId] });
}

/** Whether the server renews this lease for the client. */
async function isRenewed(client: PoolClient, proof: { leaseId: string; secret?: string }): Promise<boolean> {
  const { renewals } = await client.renewLeases({ leases: [proof] });
  return renewals.some(({ timeToLive }) => timeToLive);
}

test("each cluster sees its own GPUs only, also in a watch", async () => {
  await using pool = await start();
  expect(await gpusSeenBy(pool.a)).toEqual(["server/0", "server/1"]);
  expect(await gpusSeenBy(pool.b)).toEqual(["server/2"]);
  const stop = new AbortController();
  for await (const { inventory } of pool.b.watchInventory({}, { signal: stop.signal })) {
    expect(inventory?.gpus.map(({ id }) => id)).toEqual(["server/2"]);
    break;
  }
  stop.abort();
});

test("a cluster claims its own GPUs only: another's do not exist for it", async () => {
  await using pool = await start();
  expect(await failureOf(claim(pool.b, "server/0", 1))).toBe(
    'NotFound: gpu_ids has "server/0": this server has no such GPU',
  );
  expect((await claim(pool.b, undefined, 100)).lease?.gpus.map(({ gpuId }) => gpuId)).toEqual(["server/2"]);
  expect(await failureOf(claim(pool.b, undefined, 1))).toStartWith("ResourceExhausted: 0 of this server's 1 GPUs");
});

test("only the cluster that holds a lease sees, renews and releases it", async () => {
  await using pool = await start();
  const { lease, secret } = await claim(pool.a, "server/0", 60);
  const request = { leaseId: lease?.id ?? "", secret };
  expect((await pool.b.listLeases({})).leases).toEqual([]);
  expect(await isRenewed(pool.b, request)).toBe(false);
  await pool.b.release(request);
  expect((await pool.a.listLeases({})).leases).toMatchObject([{ id: request.leaseId }]);
  expect(await isRenewed(pool.a, { leaseId: request.leaseId })).toBe(true);
  await pool.a.release({ leaseId: request.leaseId });
  expect((await pool.a.listLeases({})).leases).toEqual([]);
});

test("pods list nothing, and find only GPUs whose devices they know", async () => {
  await using pool = await start();
  const forbidden = 'PermissionDenied: Pods of "a" may not call this method';
  expect(await failureOf(pool.podOfA.listLeases({}))).toBe(forbidden);
  expect(await failureOf(Array.fromAsync(pool.podOfA.watchInventory({})))).toBe(forbidden);
  expect(await failureOf(pool.podOfA.getInventory({}))).toBe("PermissionDenied: devices is empty: pods must name them");
  const devices = ["server/1", "server/2"].map(deviceName);
  const { inventory } = await pool.podOfA.getInventory({ devices });
  expect(inventory?.gpus.map(({ id }) => id)).toEqual(["server/1"]);
});

test("pods renew and release a lease only with its secret, and never a lease of the cluster", async () => {
  await using pool = await start();
  const { lease, secret } = await claim(pool.podOfA, undefined, 30);
  const leaseId = lease?.id ?? "";
  expect(secret.length).toBeGreaterThan(40);
  for (const wrong of ["", "x", `${secret}x`, leaseId]) {
    expect(await isRenewed(pool.podOfA, { leaseId, secret: wrong })).toBe(false);
    await pool.podOfA.release({ leaseId, secret: wrong });
  }
  const ofCluster = await claim(pool.a, undefined, 30);
  const request = { leaseId: ofCluster.lease?.id ?? "", secret: ofCluster.secret };
  expect(await isRenewed(pool.podOfA, request)).toBe(false);
  await pool.podOfA.release(request);
  expect((await pool.a.listLeases({})).leases).toHaveLength(2);
  expect(await isRenewed(pool.podOfA, { leaseId, secret })).toBe(true);
  await pool.podOfA.release({ leaseId, secret });
  expect((await pool.a.listLeases({})).leases).toHaveLength(1);
});

test("pods hold at most podUnits together, whatever the cluster holds itself", async () => {
  await using pool = await start();
  await claim(pool.a, undefined, 20);
  await claim(pool.podOfA, undefined, 60);
  const error = ConnectError.from(await claim(pool.podOfA, undefined, 41).catch((error) => error));
  expect(`${Code[error.code]}: ${error.rawMessage}`).toBe(
    "ResourceExhausted: 0 of this server's 2 GPUs are available, 1 are requested, and the cluster's pods may hold 100 units",
  );
  expect(error.findDetails(ShortageSchema)).toMatchObject([{ availableGpus: 0, capableGpus: 2 }]);
  await claim(pool.podOfA, undefined, 40);
});

test("a pod does not get another holder's lease by the request id", async () => {
  await using pool = await start();
  const share = { case: "percent", value: 10 } as const;
  const request = { gpus: 1, share, requestId: crypto.randomUUID() };
  const first = await pool.a.claim(request);
  const second = await pool.podOfA.claim(request);
  expect(second.lease?.id).not.toBe(first.lease?.id ?? "");
});

test("pods take leases for no ResourceClaim", async () => {
  await using pool = await start();
  const request = { gpus: 1, share: { case: "percent", value: 1 }, resourceClaim: { uid: "a-1" } } as const;
  expect(await failureOf(pool.podOfA.claim(request))).toBe(
    "PermissionDenied: resource_claim is set: expected none in claims of pods",
  );
});

test.each([
  ["stranger", 'This server\'s configuration has no client "stranger"'],
  ["unitOfA", 'This server\'s configuration has no client "a"'],
  ["podOfB", 'This server\'s configuration lets pods of "b" hold no units: podUnits is 0'],
] as const)("a certificate of the CA is not enough: %s is refused by every method", async (identity, message) => {
  await using pool = await start();
  const client = pool[identity];
  const calls = [
    client.getInventory({ devices: ["x"] }),
    Array.fromAsync(client.watchInventory({})),
    claim(client, undefined, 1),
    client.renewLeases({ leases: [{ leaseId: "x" }] }),
    client.release({ leaseId: "x" }),
    client.listLeases({}),
  ];
  for (const call of calls) expect(await failureOf(call)).toBe(`PermissionDenied: ${message}`);
});

test("a client that is removed loses its watch, connection and leases at once, and others keep theirs", async () => {
  await using pool = await start();
  const watches = [pool.a, pool.b].map((client) => client.watchInventory({})[Symbol.asyncIterator]());
  for (const watch of watches) await watch.next();
  const [ofA, ofPod, ofB] = [
    await claim(pool.a, undefined, 10),
    await claim(pool.podOfA, undefined, 10),
    await claim(pool.b, undefined, 10),
  ];
  pool.server.setClients(CLIENTS.slice(1));
  expect(pool.server.ledger.leases().map(({ id }) => id)).toEqual([ofB.lease?.id ?? ""]);
  const ended = await watches[0]?.next().then(String, () => "ended");
  expect(ended).toBe("ended");
  expect((await watches[1]?.next())?.done).toBe(false);
  for (const [client, { lease, secret }] of [
    [pool.a, ofA],
    [pool.podOfA, ofPod],
  ] as const) {
    const failure = await failureOf(client.renewLeases({ leases: [{ leaseId: lease?.id ?? "", secret }] }));
    expect(failure).toBe('PermissionDenied: This server\'s configuration has no client "a"');
  }
  expect(await isRenewed(pool.b, { leaseId: ofB.lease?.id ?? "" })).toBe(true);
});

test("a client that is removed loses a connection without calls, too", async () => {
  await using pool = await start();
  const [ofA, ofB] = [IDENTITIES.a, IDENTITIES.b].map((identity) =>
    connectHttp2(`https://${pool.server.address}`, { ...identity }),
  ) as [ClientHttp2Session, ClientHttp2Session];
  await Promise.all([once(ofA, "remoteSettings"), once(ofB, "remoteSettings")]);
  pool.server.setClients(CLIENTS.slice(1));
  await once(ofA, "close");
  expect(ofB.closed).toBe(false);
  ofB.destroy();
});

test("a GPU that is another client's now takes its leases along, and no others", async () => {
  await using pool = await start();
  await claim(pool.a, "server/1", 10);
  const kept = await claim(pool.a, "server/0", 10);
  pool.server.setClients([
    { name: "a", gpus: [0], podUnits: 0 },
    { name: "b", gpus: [1, 2], podUnits: 0 },
  ]);
  expect(pool.server.ledger.leases().map(({ id }) => id)).toEqual([kept.lease?.id ?? ""]);
  expect(await gpusSeenBy(pool.b)).toEqual(["server/1", "server/2"]);
  expect(await failureOf(pool.podOfA.renewLeases({}))).toContain("podUnits is 0");
});

test("a client may have GPUs by their UUIDs", async () => {
  await using pool = await start();
  pool.server.setGpus(pool.server.gpus.map((gpu) => ({ ...gpu, id: `GPU-${gpu.number}` })));
  pool.server.setClients([
    { name: "a", gpus: ["GPU-2"], podUnits: 0 },
    { name: "b", gpus: ["GPU-0", "GPU-1"], podUnits: 0 },
  ]);
  expect([await gpusSeenBy(pool.a), await gpusSeenBy(pool.b)]).toEqual([["GPU-2"], ["GPU-0", "GPU-1"]]);
});

test("a GPU that failed and is gone neither ends its leases nor moves the others to another client", async () => {
  await using pool = await start();
  const { lease } = await claim(pool.a, "server/1", 10);
  pool.server.setGpus(pool.server.gpus.filter(({ id }) => id !== "server/1"));
  pool.server.setClients(CLIENTS);
  expect([await gpusSeenBy(pool.a), await gpusSeenBy(pool.b)]).toEqual([["server/0"], ["server/2"]]);
  expect(pool.server.ledger.leases().map(({ id }) => id)).toEqual([lease?.id ?? ""]);
});
