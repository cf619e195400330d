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

/** A file that is followed, and what is said of it. */
async function start() {
  const directory = await mkdtemp(join(tmpdir(), "catalogue-"));
  const over = new AbortController();
  cleanups.push(
    () => rm(directory, { recursive: true, force: true }),
    () => over.abort(),
  );
  const path = join(directory, "clients.yaml");
  /** All at once, as the kubelet changes a mounted ConfigMap. */
  const write = async (content: unknown) => {
    await writeFile(`${path}.next`, typeof content === "string" ? content : stringify(content));
    await rename(`${path}.next`, path);
  };
  await write(first);
  const complaints: string[] = [];
  const complaint = Promise.withResolvers<void>();
  const onFailure = (error: unknown) => {
    complaints.push((error as Error).message);
    complaint.resolve();
  };
  return {
    path,
    over,
    write,
    complaints,
    complained: complaint.promise,
    catalogues: followCatalogue({ path, onFailure }, over.signal),
  };
}

/** Cuts the waits short for as long as this is going on: the reads in between are still the real ones. */
async function looking<T>(result: () => Promise<T>): Promise<T> {
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

test("followCatalogue() gives the catalogue, then each that takes its place, and ends with the signal", async () => {
  const { write, catalogues, over, complaints } = await start();
  expect((await catalogues.next()).value).toEqual(first);
  await write(second);
  expect((await looking(() => catalogues.next())).value).toEqual(second);
  await write(first);
  expect((await looking(() => catalogues.next())).value).toEqual(first);
  expect(complaints).toEqual([]);
  const end = catalogues.next();
  over.abort();
  expect(await end).toEqual({ done: true, value: undefined });
});

test.each<[description: string, broken: string | undefined, message: RegExp]>([
  ["is no YAML", "default: [", /^Cannot read .*clients.yaml: /],
  ["has no clients", "default: x\nclients: []\n", /^Cannot use .*clients.yaml: clients: expected at least one client$/],
  ["is gone", undefined, /^Cannot read CLIENTS_FILE=".*clients.yaml": ENOENT/],
])(
  "followCatalogue() complains once of a file that %s, keeps the last, and takes the next",
  async (_, broken, message) => {
    const { path, write, catalogues, complaints, complained } = await start();
    await catalogues.next();
    await (broken === undefined ? rm(path) : write(broken));
    const next = looking(async () => {
      const result = catalogues.next();
      await complained;
      for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate); // many more looks at the same
      await write(second);
      return result;
    });
    expect((await next).value).toEqual(second);
    expect(complaints).toEqual([expect.stringMatching(message)]);
  },
);

test("followCatalogue() gives nothing for a file that is written again with the same content", async () => {
  const { write, catalogues, complaints, complained } = await start();
  await catalogues.next();
  await write("default: [");
  const next = looking(async () => {
    const result = catalogues.next();
    await complained;
    await write(first); // as it was: whoever has it has the right one
    for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
    await write(second);
    return result;
  });
  expect((await next).value).toEqual(second);
  expect(complaints).toHaveLength(1);
});

test("followCatalogue() fails at first when there is no file that it can use", async () => {
  const { write, catalogues, complaints } = await start();
  await write("default: [");
  expect(await catalogues.next().then(String, String)).toStartWith("ConfigError: Cannot read ");
  expect(complaints).toEqual([]);
});
