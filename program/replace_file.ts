import { open, rename, rm } from "node:fs/promises";

export interface ReplaceOptions {
  /** Permissions of the file, whatever the umask. */
  mode: number;
  /** Where the content is written first, in the same directory. */
  unfinished: string;
  /** The file is not replaced once it is aborted. */
  signal?: AbortSignal;
}

/**
 * Writes a file atomically. Synced to disk: after a power failure, the rename must not lead to an empty file.
 *
 * @throws the error of the file system, or the signal's reason. The file is as before then.
 */
export async function replaceFile(path: string, content: string, options: ReplaceOptions): Promise<void> {
  const { mode, unfinished, signal } = options;
  try {
    await writeAndSync(unfinished, content, mode);
    signal?.throwIfAborted();
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => {}); // the first failure says more
    throw error;
  }
}

async function writeAndSync(path: string, content: string, mode: number): Promise<void> {
  await using file = await open(path, "w", mode);
  await file.chmod(mode);
  await file.writeFile(content);
  await file.sync();
}
