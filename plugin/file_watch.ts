import { type FSWatcher, type Stats, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, messageOf } from "../program/log/log.ts";

export interface FileWatchOptions {
  log: Logger;
  /** Replaces fs.watch in tests. */
  watch?: typeof watch;
}

/** Waits for changes of files that the kubelet creates and removes. */
export interface FileWatch {
  /**
   * Resolves once the file at this path is gone, or differs from `identity`. Rejects when the signal is aborted.
   *
   * @throws {DirectoryDeletedError}
   */
  untilReplaced(path: string, identity: string | undefined, signal: AbortSignal): Promise<void>;
  /**
   * Resolves once `check` returns a value. It is called at each event in the directory, and every two seconds. Rejects when the signal is
   * aborted.
   *
   * @throws {DirectoryDeletedError}
   */
  untilFound<T extends {}>(directory: string, check: () => Promise<T | undefined>, signal: AbortSignal): Promise<T>;
  /**
   * Returns when the signal is aborted.
   *
   * @throws {DirectoryDeletedError} within two seconds after this directory was deleted on the node.
   */
  untilDeleted(directory: string, signal: AbortSignal): Promise<void>;
}

/**
 * A directory that is mounted into this container was deleted on the node. A new directory at its path never appears in this container;
 * only a new container sees it.
 */
export class DirectoryDeletedError extends Error {
  override name = "DirectoryDeletedError";

  constructor(directory: string) {
    super(`${directory} was deleted on the node: the program ends, so that its restart mounts the new directory`);
  }
}

/** Time between two polls beside the watch, in ms. They detect a directory that was itself replaced. */
const POLL = 2000;

/** How long after an event to check again, in ms: Bun drops the second of two events within some ms, such as unlink and create. */
const SETTLE = 50;

export function createFileWatch({ log, watch: watchFile = watch }: FileWatchOptions): FileWatch {
  const unwatchable = new Set<string>();

  /** Without a watch the polls remain, for example on a node that has no inotify instance left. */
  function watchDirectory(directory: string, onEvent: () => void): Disposable {
    let watcher: FSWatcher | undefined;
    try {
      watcher = watchFile(directory, onEvent);
      watcher.on("error", onEvent);
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT"; // a poll finds the directory once it exists
      if (!isMissing && !unwatchable.has(directory)) {
        log.warn("Cannot watch a directory: it is polled every two seconds", { directory, reason: messageOf(error) });
        unwatchable.add(directory);
      }
    }
    return { [Symbol.dispose]: () => watcher?.close() };
  }

  const fileWatch: FileWatch = {
    async untilReplaced(path, identity, signal) {
      const isReplaced = async () => {
        const current = await fileIdentity(path);
        return current === undefined || current !== identity || undefined;
      };
      await fileWatch.untilFound(dirname(path), isReplaced, signal);
    },
    async untilFound(directory, check, signal) {
      for (;;) {
        await assertNotDeleted(directory);
        const event = Promise.withResolvers<void>();
        using _watcher = watchDirectory(directory, event.resolve);
        const found = await check();
        if (found !== undefined) return found;
        await eventOrPoll(event, signal);
        const foundAfter = await check();
        if (foundAfter !== undefined) return foundAfter;
        await sleep(SETTLE, undefined, { signal });
      }
    },
    async untilDeleted(directory, signal) {
      const never = async () => undefined;
      await fileWatch.untilFound(directory, never, signal).catch((error) => {
        if (!signal.aborted) throw error;
      });
    },
  };
  return fileWatch;
}

/** Distinguishes two files at one path, even if the inode is reused. Undefined if there is no file. */
export async function fileIdentity(path: string): Promise<string | undefined> {
  const found = await statIfExists(path);
  return found && `${found.dev}:${found.ino}:${found.ctimeMs}`;
}

/**
 * Checks that a directory still has a name. Only a mount keeps a deleted directory accessible.
 *
 * @throws {DirectoryDeletedError}
 */
export async function assertNotDeleted(directory: string): Promise<void> {
  const found = await statIfExists(directory);
  if (found?.nlink === 0) throw new DirectoryDeletedError(directory);
}

async function statIfExists(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
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
