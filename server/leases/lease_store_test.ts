import { expect, test } from "bun:test";
import { mkdir, mkdtempDisposable, readdir, readFile, rmdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRecordingLog } from "../../program/testing.ts";
import { createLeaseStore } from "./lease_store.ts";
import type { Lease } from "./ledger.ts";

const LEASE: Lease = {
  id: "lease-1",
  holder: { client: "cluster-a", isPod: false },
  secret: "the secret",
  owner: { namespace: "team", pod: "train", container: "main" },
  resourceClaim: { namespace: "team", name: "train-gpu", uid: "a-1", node: "node-1", shareIds: ["s-1"] },
  gpus: [{ gpuId: "server/0", units: 60 }],
  grantedAt: 400,
  expiresAt: 1400,
  request: "digest",
};
const { expiresAt: _, ...STORED } = LEASE;

/** A store in a folder of its own. `open` opens it again, as a restarted server does. */
async function start() {
  const folder = await mkdtempDisposable(join(tmpdir(), "leases-"));
  const path = join(folder.path, "leases.json");
  const lines: string[] = [];
  return {
    folder: folder.path,
    path,
    lines,
    open: () => createLeaseStore({ path, log: createRecordingLog(lines) }),
    [Symbol.asyncDispose]: () => folder.remove(),
  };
}

function ledgerOf(leases: readonly Lease[], time = 1000) {
  return { leases: () => [...leases], now: () => time };
}

test("load() returns the leases that were saved, as long ago as they were granted, and nobody else can read them", async () => {
  await using disk = await start();
  const ownLease: Lease = { ...LEASE, id: "lease-2", resourceClaim: undefined, request: undefined };
  await disk.open().save(ledgerOf([LEASE, ownLease]));
  expect((await stat(disk.path)).mode & 0o777).toBe(0o600);
  expect(await readdir(disk.folder)).toEqual(["leases.json"]);
  const [first, second] = await disk.open().load(ledgerOf([], 50)); // the clock has started again
  expect(first).toEqual({ ...STORED, grantedAt: expect.any(Number) });
  expect(first?.grantedAt).toBeWithin(-5000, -549);
  expect(second).toMatchObject({ id: "lease-2", secret: "the secret" });
});

test("save() returns once the leases are on disk as they were when it was called", async () => {
  await using disk = await start();
  const store = disk.open();
  const leases: Lease[] = [];
  const saves = Array.from({ length: 20 }, async (_, index) => {
    const id = `lease-${index}`;
    leases.push({ ...LEASE, id });
    await store.save(ledgerOf(leases));
    expect((await disk.open().load(ledgerOf([]))).map((lease) => lease.id)).toContain(id);
  });
  await Promise.all(saves);
});

test("load() returns nothing before the first save, and says why it cannot use a file, without its secrets", async () => {
  await using disk = await start();
  expect(await disk.open().load(ledgerOf([]))).toEqual([]);
  expect(disk.lines).toEqual([]);
  await disk.open().save(ledgerOf([LEASE]));
  const text = await readFile(disk.path, "utf8");
  await writeFile(disk.path, text.replace('"the secret"', "7"));
  expect(await disk.open().load(ledgerOf([]))).toEqual([]);
  await writeFile(disk.path, text.slice(0, 200));
  expect(await disk.open().load(ledgerOf([]))).toEqual([]);
  const message = "Cannot read the saved leases: the drivers must take theirs again";
  expect(disk.lines).toEqual([
    `${message}: leases.0.secret: expected string`,
    `${message}: the document: expected JSON`,
  ]);
});

test("save() says why it fails, and succeeds later, also beside a file that a killed server left unfinished", async () => {
  await using disk = await start();
  await mkdir(`${disk.path}.tmp`);
  const store = disk.open();
  await store.save(ledgerOf([LEASE]));
  expect(disk.lines).toEqual([expect.stringMatching(/^Cannot save the leases: a restart may lose them: EISDIR/)]);
  await rmdir(`${disk.path}.tmp`);
  await writeFile(`${disk.path}.tmp`, "unfinished");
  await store.save(ledgerOf([LEASE]));
  expect((await disk.open().load(ledgerOf([]))).map(({ id }) => id)).toEqual(["lease-1"]);
});
