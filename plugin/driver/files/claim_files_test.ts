import { expect, spyOn, test } from "bun:test";
import { mkdtempDisposable, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClaimFiles } from "./claim_files.ts";
import type { PreparedClaim } from "./prepared_claim.ts";

const LEASE = { address: "gpu-1:56001", leaseId: "lease 1", secret: "secret 1" };
const CLAIM: PreparedClaim = {
  namespace: "team",
  name: "train-gpu",
  uid: "a-1",
  owner: { namespace: "team", pod: "train", container: "main" },
  node: "node-1",
  containers: ["main"],
  shares: [{ request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", units: 60 }],
  leases: [{ ...LEASE, requestId: "r", gpuIds: ["a/0"], units: 60, timeToLive: 300_000 }],
};
const CDI_FILE = "bitfusion.io-claim_a-1.json";
const { signal } = new AbortController();

/** Creates the directories of a driver, and its files. */
async function start() {
  const folder = await mkdtempDisposable(join(tmpdir(), "cdi-"));
  const directories = { cdiDirectory: join(folder.path, "cdi"), recordDirectory: join(folder.path, "claims") };
  return {
    ...directories,
    files: createClaimFiles(directories),
    /** All files, by path. */
    async names() {
      const entries = await readdir(folder.path, { recursive: true, withFileTypes: true });
      const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
      return paths.map((path) => path.slice(folder.path.length + 1)).toSorted();
    },
    modeOf: async (path: string) => ((await stat(join(folder.path, path))).mode & 0o777).toString(8),
    read: (path: string) => readFile(join(folder.path, path), "utf8"),
    pathOf: (path: string) => join(folder.path, path),
    [Symbol.asyncDispose]: () => folder.remove(),
  };
}

const ALL_FILES = ["cdi/bitfusion.io-claim_a-1.json", "claims/a-1.json", "claims/a-1/ca.crt", "claims/a-1/leases.json"];

test("write() writes a record, a folder for containers and a CDI file, read() returns the claim, and remove() removes all", async () => {
  await using node = await start();
  const { files } = node;
  expect(await files.read("a-1")).toBeUndefined();
  await files.write(CLAIM, "the CA", signal);
  expect(await node.names()).toEqual(ALL_FILES);
  expect(await files.read("a-1")).toEqual(CLAIM);
  expect(await files.list()).toEqual(["a-1"]);
  expect(await node.read("claims/a-1/ca.crt")).toBe("the CA");
  expect(JSON.parse(await node.read("claims/a-1/leases.json"))).toEqual({ containers: ["main"], leases: [LEASE] });
  await files.remove("a-1");
  await files.remove("a-1");
  expect(await node.names()).toEqual([]);
  expect(await readdir(node.recordDirectory)).toEqual([]);
});

test("only the driver's user gets at secrets on the node, each container at those of its claim, and no CDI file has one", async () => {
  const umask = process.umask(0o077);
  try {
    await using node = await start();
    await node.files.write(CLAIM, "the CA", signal);
    const modes = await Promise.all(["claims", "claims/a-1", ...ALL_FILES].map(node.modeOf));
    expect(modes).toEqual(["700", "755", "644", "600", "444", "444"]);
    expect(await node.read(`cdi/${CDI_FILE}`)).not.toContain("secret 1");
  } finally {
    process.umask(umask);
  }
});

test("write() keeps files that are up to date, and replaces any others", async () => {
  await using node = await start();
  await node.files.write(CLAIM, "the CA", signal);
  const inodes = () => Promise.all(ALL_FILES.map(async (name) => (await stat(node.pathOf(name))).ino));
  const before = await inodes();
  await node.files.write(CLAIM, "the CA", signal);
  expect(await inodes()).toEqual(before);
  await writeFile(node.pathOf(`cdi/${CDI_FILE}`), "");
  await node.files.write({ ...CLAIM, leases: [] }, "another CA", signal);
  expect(await node.files.read("a-1")).toEqual({ ...CLAIM, leases: [] });
  expect(await node.read("claims/a-1/ca.crt")).toBe("another CA");
  expect(await node.files.identify("a-1")).toMatchObject({ namespace: "team", name: "train-gpu", uid: "a-1" });
});

test("write() syncs each complete file to disk before it gets its name: a power failure leaves no empty file", async () => {
  await using node = await start();
  await using handle = await open(node.pathOf("other"), "w");
  const synced: string[] = [];
  const sync = spyOn(Object.getPrototypeOf(handle), "sync").mockImplementation(async () => {
    const [name = ""] = (await node.names()).filter((name) => name.endsWith(".tmp"));
    synced.push(`${name.replace(/\.\w+\.tmp$/, "")}: ${await node.read(name)}`);
  });
  try {
    await node.files.write(CLAIM, "the CA", signal);
  } finally {
    sync.mockRestore();
  }
  const written = await Promise.all(ALL_FILES.map(async (name) => `${name}: ${await node.read(name)}`));
  expect(synced.toSorted()).toEqual(written.toSorted());
});

test("write() creates the directories, and recreates them after a deletion", async () => {
  await using node = await start();
  expect(await node.files.list()).toEqual([]);
  expect(await node.files.listUnrecorded()).toEqual([]);
  for (const directory of [node.cdiDirectory, node.recordDirectory]) {
    await node.files.write(CLAIM, "the CA", signal);
    await rm(directory, { recursive: true });
    await node.files.write(CLAIM, "the CA", signal);
    expect(await node.names()).toEqual(ALL_FILES);
  }
});

test("listUnrecorded() returns claims that have a CDI file only", async () => {
  await using node = await start();
  await node.files.write(CLAIM, "the CA", signal);
  expect(await node.files.listUnrecorded()).toEqual([]);
  await rm(node.recordDirectory, { recursive: true });
  expect(await node.files.listUnrecorded()).toEqual(["a-1"]);
  expect(await node.files.list()).toEqual([]);
});

test("write() leaves no file if the signal is aborted", async () => {
  await using node = await start();
  expect(await node.files.write(CLAIM, "the CA", AbortSignal.abort()).then(String, ({ name }) => name)).toBe(
    "AbortError",
  );
  expect(await node.names()).toEqual([]);
});

test("list(), listUnrecorded() and removeUnfinished() ignore files of other programs", async () => {
  await using node = await start();
  await node.files.write(CLAIM, "the CA", signal);
  const others = ["bitfusion.io-claim_.json", "example.com-gpu.json", "nvidia.yaml", "x.tmp"].map(
    (name) => `cdi/${name}`,
  );
  const unfinished = [
    `cdi/${CDI_FILE}.0a0b0c0d.tmp`,
    "cdi/bitfusion.io-claim_a-2.json.0a0b0c0d.tmp",
    "claims/a-1.json.0a0b0c0d.tmp",
    "claims/a-1/leases.json.0a0b0c0d.tmp",
  ];
  for (const name of [...others, ...unfinished]) await writeFile(node.pathOf(name), "");
  expect(await node.files.list()).toEqual(["a-1"]);
  expect(await node.files.listUnrecorded()).toEqual([]);
  await node.files.removeUnfinished();
  expect(await node.names()).toEqual([...ALL_FILES, ...others].toSorted());
});

test("read() and identify() name the file that they cannot parse, and the reason, but no secret", async () => {
  await using node = await start();
  await node.files.write(CLAIM, "the CA", signal);
  const record = await node.read("claims/a-1.json");
  await writeFile(node.pathOf("claims/a-1.json"), record.replace('"secret 1"', '["secret 1"]'));
  await writeFile(node.pathOf(`cdi/${CDI_FILE}`), "{}");
  const failures = [node.files.read("a-1"), node.files.identify("a-1")].map((call) =>
    call.then(String, (error) => error),
  );
  const [first, second] = (await Promise.all(failures)) as [Error, Error];
  expect(first.message).toBe(`Cannot use ${node.pathOf("claims/a-1.json")}`);
  expect(String(first.cause)).toContain("leases.0.secret");
  expect(String(first.cause)).not.toContain("secret 1");
  expect(second.message).toBe(`Cannot use ${node.pathOf(`cdi/${CDI_FILE}`)}`);
  expect(String(second.cause)).toContain("annotations is not set");
});

test.each(["", "../../etc/passwd", "a/b", "a.b", "-a", "a-", "a".repeat(64)])(
  "createClaimFiles() rejects the uid %j and touches no file",
  async (uid) => {
    await using node = await start();
    const { files } = node;
    const message = `Error: Cannot use the uid "${uid}": expected letters, digits and dashes`;
    expect(await files.write({ ...CLAIM, uid }, "the CA", signal).catch(String)).toBe(message);
    expect(await files.remove(uid).catch(String)).toBe(message);
    expect(await files.withdraw(uid).catch(String)).toBe(message);
    expect(await files.read(uid).catch(String)).toBe(message);
    expect(await node.names()).toEqual([]);
  },
);
