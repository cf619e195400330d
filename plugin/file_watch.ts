import { type FSWatcher, type Stats, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, messageOf } from "../program/log/log.ts";

export interface WaitOptions {
  log: Logger;
  signal: AbortSignal;
  /** For tests. */
  watch?: typeof watch;
}

/** A mounted directory was deleted: a new one at its path is never seen in this container, only in the next. */
export class DirectoryDeletedError extends Error {
  override name = "DirectoryDeletedError";

  constructor(directory: string) {
    super(`${directory} was deleted on the node: ends, for a restart to mount the one that is there then`);
  }
}

/** A poll beside the watch: it finds a directory that was itself replaced. */
const POLL = 2000;
/** After an event, look again: Bun drops the second of two that come within some ms, such as unlink and create. */
const SETTLE = 50;

/** Tells two files at one path apart, also where the inode is reused. Undefined while there is none. */
export async function identityOf(path: string): Promise<string | undefined> {
  const found = await statIfThere(path);
  return found && `${found.dev}:${found.ino}:${found.ctimeMs}`;
}

/**
 * Only of a mount can the path still lead to what has no name any more.
 *
 * @throws {DirectoryDeletedError}
 */
export async function refuseDeleted(directory: string): Promise<void> {
  const found = await statIfThere(directory);
  if (found?.nlink === 0) throw new DirectoryDeletedError(directory);
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Resolves once the file at this path is gone, or another than `identity` tells. Rejects when aborted.
 *
 * @throws {DirectoryDeletedError}
 */
export async function untilReplaced(path: string, identity: string | undefined, options: WaitOptions): Promise<void> {
  const isReplaced = async () => {
    const current = await identityOf(path);
    return current === undefined || current !== identity || undefined;
  };
  await waitInDirectory(dirname(path), isReplaced, options);
}

/**
 * Resolves once `check` gives a value; looks at each event in the directory, and every two seconds. Rejects when aborted.
 *
 * @throws {DirectoryDeletedError}
 */
export async function waitInDirectory<T extends {}>(
  directory: string,
  check: () => Promise<T | undefined>,
  options: WaitOptions,
): Promise<T> {
  const { signal } = options;
  for (;;) {
    await refuseDeleted(directory);
    const event = Promise.withResolvers<void>();
    using _watcher = watchDirectory(directory, event.resolve, options);
    const found = await check();
    if (found !== undefined) return found;
    await eventOrPoll(event, signal);
    const again = await check();
    if (again !== undefined) return again;
    await sleep(SETTLE, undefined, { signal });
  }
}

async function eventOrPoll(event: PromiseWithResolvers<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const wake = () => event.resolve();
  const poll = setTimeout(wake, POLL);
  signal.addEventListener("abort", wake, { once: true });
  await event.promise;
  clearTimeout(poll);
  signal.removeEventListener("abort", wake);
  signal.throwIfAborted();
}

/** Directories of which was said that they cannot be watched. */
const unwatchable = new Set<string>();

/** Without a watch the poll is left, such as on a node that has no inotify instance to spare. */
function watchDirectory(
  directory: string,
  onEvent: () => void,
  { log, watch: watchFile = watch }: WaitOptions,
): Disposable {
  let watcher: FSWatcher | undefined;
  try {
    watcher = watchFile(directory, onEvent);
    watcher.on("error", onEvent);
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code !== "ENOENT"; // else the poll finds it once it is
    if (isThere && !unwatchable.has(directory)) {
      log.warn("Cannot watch a directory: it is looked at every two seconds", { directory, reason: messageOf(error) });
      unwatchable.add(directory);
    }
  }
  return { [Symbol.dispose]: () => watcher?.close() };
}
