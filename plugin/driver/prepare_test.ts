import { expect, test } from "bun:test";
import { mkdtempDisposable, readdir, readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { deviceName } from "../../pool/device_name.ts";
import { LEASE_FILES, parseLeases } from "../../pool/lease_folder.ts";
import { createPoolServers } from "../../pool/sources/pool_servers.ts";
import type { Token } from "../../pool/token/token.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { startPoolServer, TEST_HOLDER } from "../../server/testing.ts";
import { TEST_CLIENT } from "../../tls/testing.ts";
import { createClaimFiles } from "./files/claim_files.ts";
import { createPreparer, type PreparerOptions } from "./prepare.ts";
import { sliceOf } from "./testing.ts";

const ID = { namespace: "team", name: "train-gpu", uid: "a-1" };

/** A claim with 60 percent of the GPU server/0, which a pod owns. */
function claim(annotations: Record<string, string> = {}): ResourceClaim {
  const device = { request: "gpu", driver: "bitfusion.io", pool: "pool", device: deviceName("server/0") };
  return {
    metadata: {
      ...ID,
      annotations,
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "train", uid: "p-1", controller: true }],
    },
    spec: {},
    status: {
      allocation: { devices: { results: [{ ...device, consumedCapacity: { units: "60" } }] } },
      reservedFor: [{ resource: "pods", name: "train", uid: "p-1" }],
    },
  };
}

/** Creates a preparer whose pool is the server at this address. */
async function start(address: string | undefined, options: Partial<PreparerOptions> & { token?: Token } = {}) {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await mkdtempDisposable(join(tmpdir(), "prepare-")));
  const { token = { tls: TEST_CLIENT } } = options;
  const preparer = createPreparer({
    files: createClaimFiles({ cdiDirectory: join(folder.path, "cdi"), recordDirectory: join(folder.path, "claims") }),
    pool: stack.use(
      createPoolServers({ servers: address === undefined ? undefined : [{ address }], token: createLatest(token) }),
    ),
    node: "node-1",
    readClaim: async () => claim(),
    readPod: async () => undefined,
    readSlice: async (name) => sliceOf(name, [{ address: address ?? "gone:1", gpus: [{ id: "server/0" }] }]),
    onPrepared: () => {},
    log: silentLog,
    ...options,
  });
  return {
    prepare: (signal = AbortSignal.timeout(4000)) => preparer.prepare(ID, signal).then(() => "prepared", String),
    files: () => readdir(folder.path, { recursive: true }),
    /** What the containers of the claim find in their folder. */
    readLeases: async () =>
      parseLeases(await readFile(join(folder.path, "claims", ID.uid, LEASE_FILES.leases), "utf8")),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

test("prepare() gives up in time, and names the server that does not answer", async () => {
  const silent = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  const address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  await using node = await start(address, { timeout: 100 });
  expect(await node.prepare()).toStartWith("Error: Claim team/train-gpu: not prepared within 0.1 s: ");
  expect(await node.files()).toEqual([]);
  silent.close();
});

test("prepare() takes no lease and writes nothing if the kubelet cancels the call while the claim is read", async () => {
  await using server = await startPoolServer();
  const stop = new AbortController();
  const readClaim = async () => {
    stop.abort();
    return claim();
  };
  await using node = await start(server.address, { readClaim });
  expect(await node.prepare(stop.signal)).toContain("The operation was aborted");
  expect(await node.files()).toEqual([]);
  expect(server.ledger.leases()).toEqual([]);
});

test("prepare() waits for units whose lease is about to end: that of the claim that had them before", async () => {
  await using server = await startPoolServer();
  await using node = await start(server.address);
  const owner = { namespace: "team", pod: "earlier", container: "" };
  server.ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus: 1, percent: 100 } });
  const { claim } = server.ledger;
  server.ledger.claim = (request) => {
    const result = claim(request);
    for (const { id } of server.ledger.leases()) if (!("lease" in result)) server.ledger.release(id);
    return result;
  };
  expect(await node.prepare()).toBe("prepared");
  expect(server.ledger.leases().map(({ owner }) => owner.pod)).toEqual(["train"]);
});

test("prepare() refuses a token for servers with another protocol", async () => {
  await using node = await start("127.0.0.1:1", { token: {} });
  expect(await node.prepare()).toContain("The pool's token has no certificate: its servers speak another protocol");
});

test("prepare() says at once that no pool server is configured", async () => {
  await using node = await start(undefined);
  expect(await node.prepare()).toBe(
    "Error: Claim team/train-gpu: No pool server is configured: set POOL_SERVERS or SERVERS_CONF",
  );
});

test.each([
  ["main", "main", ["main"]],
  ["main load", "main load", ["main", "load"]],
  [`${"x".repeat(60)} load`, "", ["x".repeat(60), "load"]],
  ["", "", []],
  ["x".repeat(64), "", []],
  ["a\nb", "", []],
])(
  "the lease is of the pod that owns the claim, and of the containers in its annotation %j if these are names",
  async (annotation, container, containers) => {
    await using server = await startPoolServer();
    await using node = await start(server.address, {
      readClaim: async () => claim({ "bitfusion.io/containers": annotation }),
    });
    expect(await node.prepare()).toBe("prepared");
    expect(server.ledger.leases().map(({ owner }) => owner)).toEqual([{ namespace: "team", pod: "train", container }]);
    expect(await node.readLeases()).toMatchObject({ containers });
  },
);
