import { expect, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../program/testing.ts";
import { identityOf, waitInDirectory } from "./file_watch.ts";

test("waitInDirectory() finds a file also where no directory can be watched, and says so once", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "kubelet-"));
  const path = join(folder.path, "kubelet.sock");
  const warned: unknown[] = [];
  const log = Object.create(silentLog, { warn: { value: (...args: unknown[]) => warned.push(args) } });
  const watch = () => {
    throw Object.assign(new Error("EMFILE: too many open files, watch"), { code: "EMFILE" });
  };
  const found = waitInDirectory(folder.path, () => identityOf(path), {
    log,
    signal: AbortSignal.timeout(4500),
    watch: watch as never,
  });
  await writeFile(path, "");
  expect(await found).toBe((await identityOf(path)) as string);
  expect(warned).toEqual([
    [
      "Cannot watch a directory: it is looked at every two seconds",
      { directory: folder.path, reason: "EMFILE: too many open files, watch" },
    ],
  ]);
});
