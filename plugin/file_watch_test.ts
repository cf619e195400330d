import { expect, test } from "bun:test";
import { link, mkdtempDisposable, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRecordingLog, silentLog } from "../program/testing.ts";
import { createFileWatch, fileIdentity } from "./file_watch.ts";

test("untilFound() polls a directory that cannot be watched, and logs this once", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "kubelet-"));
  const path = join(folder.path, "kubelet.sock");
  const lines: string[] = [];
  const watch = () => {
    throw Object.assign(new Error("EMFILE: too many open files, watch"), { code: "EMFILE" });
  };
  const fileWatch = createFileWatch({ log: createRecordingLog(lines), watch: watch as never });
  const found = fileWatch.untilFound(folder.path, () => fileIdentity(path), AbortSignal.timeout(4500));
  await writeFile(`${path}.new`, "");
  await rename(`${path}.new`, path); // else the file can be found before it is complete
  expect(await found).toBe((await fileIdentity(path)) as string);
  expect(lines).toEqual([
    "Cannot watch a directory: it is polled every two seconds: EMFILE: too many open files, watch",
  ]);
});

test("untilReplaced() detects a file that has the inode of the one before: file systems use inodes again", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "kubelet-"));
  const [path, spare] = [join(folder.path, "kubelet.sock"), join(folder.path, "spare")];
  await writeFile(path, "");
  await link(path, spare);
  const before = await stat(path);
  const identity = await fileIdentity(path);
  do {
    await rm(path);
    await link(spare, path);
  } while ((await stat(path)).ctimeMs === before.ctimeMs); // the clock of file systems has steps of some ms
  expect((await stat(path)).ino).toBe(before.ino);
  await createFileWatch({ log: silentLog }).untilReplaced(path, identity, AbortSignal.timeout(4000));
});
