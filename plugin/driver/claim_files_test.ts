import { expect, spyOn, test } from "bun:test";
import { mkdtempDisposable, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PreparedClaim } from "./cdi.ts";
import { createClaimFiles } from "./claim_files.ts";

const CLAIM: PreparedClaim = {
  namespace: "team",
  name: "train-gpu",
  uid: "a-1",
  shares: [{ request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", units: 60 }],
};
const FILE = "bitfusion.io-claim_a-1.json";
const { signal } = new AbortController();

function temporaryFolder() {
  return mkdtempDisposable(join(tmpdir(), "cdi-"));
}

test("write() creates one world-readable file, read() returns its claim, and remove() removes it", async () => {
  await using folder = await temporaryFolder();
  const files = createClaimFiles(folder.path);
  expect(await files.read("a-1")).toBeUndefined();
  await files.write(CLAIM, signal);
  expect(await readdir(folder.path)).toEqual([FILE]);
  expect((await stat(join(folder.path, FILE))).mode & 0o777).toBe(0o644);
  expect(await files.read("a-1")).toEqual(CLAIM);
  expect(await files.list()).toEqual(["a-1"]);
  await files.remove("a-1");
  await files.remove("a-1");
  expect(await readdir(folder.path)).toEqual([]);
});

test("write() keeps a file that is up to date, and replaces any other", async () => {
  await using folder = await temporaryFolder();
  const files = createClaimFiles(folder.path);
  await files.write(CLAIM, signal);
  const path = join(folder.path, FILE);
  const { ino } = await stat(path);
  await files.write(CLAIM, signal);
  expect((await stat(path)).ino).toBe(ino);
  await writeFile(path, "");
  await files.write(CLAIM, signal);
  expect(await files.read("a-1")).toEqual(CLAIM);
});

test("write() syncs the complete file to disk before it gets its name: a power failure leaves no empty file", async () => {
  await using folder = await temporaryFolder();
  await using handle = await open(join(folder.path, "other"), "w");
  const synced: string[][] = [];
  const sync = spyOn(Object.getPrototypeOf(handle), "sync").mockImplementation(async () => {
    const names = (await readdir(folder.path)).filter((name) => name !== "other");
    synced.push(
      ...(await Promise.all(names.map(async (name) => [name, await readFile(join(folder.path, name), "utf8")]))),
    );
  });
  try {
    await createClaimFiles(folder.path).write(CLAIM, signal);
  } finally {
    sync.mockRestore();
  }
  expect(synced).toEqual([[expect.stringMatching(/\.tmp$/), await readFile(join(folder.path, FILE), "utf8")]]);
});

test("write() creates the directory, and recreates it after a deletion", async () => {
  await using folder = await temporaryFolder();
  const directory = join(folder.path, "run/cdi");
  const files = createClaimFiles(directory);
  expect(await files.list()).toEqual([]);
  await files.write(CLAIM, signal);
  await rm(directory, { recursive: true });
  await files.write(CLAIM, signal);
  expect(await files.list()).toEqual(["a-1"]);
});

test("write() leaves no file if the signal is aborted", async () => {
  await using folder = await temporaryFolder();
  const files = createClaimFiles(folder.path);
  expect(await files.write(CLAIM, AbortSignal.abort()).then(String, ({ name }) => name)).toBe("AbortError");
  expect(await readdir(folder.path)).toEqual([]);
});

test("list() and removeUnfinished() ignore files of other programs", async () => {
  await using folder = await temporaryFolder();
  const files = createClaimFiles(folder.path);
  await files.write(CLAIM, signal);
  const others = ["bitfusion.io-claim_.json", "example.com-gpu.json", "nvidia.yaml", "x.tmp"];
  const unfinished = [`${FILE}.0a0b0c0d.tmp`, "bitfusion.io-claim_a-2.json.0a0b0c0d.tmp"];
  for (const name of [...others, ...unfinished]) await writeFile(join(folder.path, name), "");
  expect(await files.list()).toEqual(["a-1"]);
  await files.removeUnfinished();
  expect((await readdir(folder.path)).sort()).toEqual([FILE, ...others].sort());
  expect(await readFile(join(folder.path, FILE), "utf8")).toContain("gpu-aaaaaaaa=60");
});

test("read() names the file that it cannot parse, and the reason", async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, FILE), "{}");
  const error = await createClaimFiles(folder.path)
    .read("a-1")
    .catch((thrown) => thrown);
  expect(error.message).toBe(`Cannot use ${join(folder.path, FILE)}`);
  expect(error.cause.message).toBe("annotations is not set");
});

test.each(["", "../../etc/passwd", "a/b", "a.b", "-a", "a-", "a".repeat(64)])(
  "createClaimFiles() rejects the uid %j and touches no file",
  async (uid) => {
    await using folder = await temporaryFolder();
    const files = createClaimFiles(folder.path);
    const message = `Error: Cannot use the uid "${uid}": expected letters, digits and dashes`;
    expect(await files.write({ ...CLAIM, uid }, signal).catch(String)).toBe(message);
    expect(await files.remove(uid).catch(String)).toBe(message);
    expect(await files.read(uid).catch(String)).toBe(message);
    expect(await readdir(folder.path)).toEqual([]);
  },
);
