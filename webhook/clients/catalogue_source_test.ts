import { afterEach, expect, jest, test } from "bun:test";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { testCatalogue, testClient } from "../testing.ts";
import type { Catalogue } from "./catalogue.ts";
import { followCatalogue } from "./catalogue_source.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const [first, second] = ["1", "2"].map((version) => testCatalogue(testClient({ version }))) as [Catalogue, Catalogue];

/** Follows a catalogue file. Returns the catalogues and the reported failures. */
async function start() {
  const directory = await mkdtemp(join(tmpdir(), "catalogue-"));
  const ended = new AbortController();
  cleanups.push(
    () => rm(directory, { recursive: true, force: true }),
    () => ended.abort(),
  );
  const path = join(directory, "clients.yaml");
  /** Replaces the file atomically, as the kubelet updates a mounted ConfigMap. */
  const write = async (content: unknown) => {
    await writeFile(`${path}.next`, typeof content === "string" ? content : stringify(content));
    await rename(`${path}.next`, path);
  };
  await write(first);
  const failures: string[] = [];
  const failure = Promise.withResolvers<void>();
  const onFailure = (error: unknown) => {
    failures.push((error as Error).message);
    failure.resolve();
  };
  return {
    path,
    ended,
    write,
    failures,
    failed: failure.promise,
    catalogues: followCatalogue({ path, onFailure }, ended.signal),
  };
}

/** Skips the waits between reads until `result` settles. The reads themselves are real. */
async function withoutWaits<T>(result: () => Promise<T>): Promise<T> {
  jest.useFakeTimers();
  let settled = false;
  try {
    const outcome = result().finally(() => {
      settled = true;
    });
    while (!settled) {
      jest.advanceTimersByTime(5000);
      await new Promise(setImmediate);
    }
    return await outcome;
  } finally {
    jest.useRealTimers();
  }
}

test("followCatalogue() yields the catalogue and each one that replaces it, and ends with the signal", async () => {
  const { write, catalogues, ended, failures } = await start();
  expect((await catalogues.next()).value).toEqual(first);
  await write(second);
  expect((await withoutWaits(() => catalogues.next())).value).toEqual(second);
  await write(first);
  expect((await withoutWaits(() => catalogues.next())).value).toEqual(first);
  expect(failures).toEqual([]);
  const end = catalogues.next();
  ended.abort();
  expect(await end).toEqual({ done: true, value: undefined });
});

test.each<[description: string, broken: string | undefined, message: RegExp]>([
  ["is not YAML", "default: [", /^Cannot read .*clients.yaml: /],
  ["has no clients", "default: x\nclients: []\n", /^Cannot use .*clients.yaml: clients: expected at least one client$/],
  ["was removed", undefined, /^Cannot read CLIENTS_FILE=".*clients.yaml": ENOENT/],
])(
  "followCatalogue() reports a file that %s once, keeps the last catalogue, and yields the next",
  async (_, broken, message) => {
    const { path, write, catalogues, failures, failed } = await start();
    await catalogues.next();
    await (broken === undefined ? rm(path) : write(broken));
    const next = withoutWaits(async () => {
      const result = catalogues.next();
      await failed;
      for (let tick = 0; tick < 200; tick += 1) await new Promise(setImmediate); // many more reads of the same file
      await write(second);
      return result;
    });
    expect((await next).value).toEqual(second);
    expect(failures).toEqual([expect.stringMatching(message)]);
  },
);

test("followCatalogue() yields nothing when the last valid content is restored", async () => {
  const { write, catalogues, failures, failed } = await start();
  await catalogues.next();
  await write("default: [");
  const next = withoutWaits(async () => {
    const result = catalogues.next();
    await failed;
    await write(first);
    for (let tick = 0; tick < 200; tick += 1) await new Promise(setImmediate);
    await write(second);
    return result;
  });
  expect((await next).value).toEqual(second);
  expect(failures).toHaveLength(1);
});

test("followCatalogue() throws if the first catalogue is invalid", async () => {
  const { write, catalogues, failures } = await start();
  await write("default: [");
  expect(await catalogues.next().then(String, String)).toStartWith("ConfigError: Cannot read ");
  expect(failures).toEqual([]);
});
