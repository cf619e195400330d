import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A poll beside the watch: it finds a directory that was itself replaced. */
const POLL = 2000;
/** After an event, look again: Bun drops the second of two that come within some ms, such as unlink and create. */
const SETTLE = 50;

/** Tells two files at one path apart, also where the inode is reused. Undefined while there is none. */
export async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, ctimeMs, dev } = await stat(path);
    return `${dev}:${ino}:${ctimeMs}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Resolves once the file at this path is gone, or another than `identity` tells. Rejects when aborted. */
export async function untilReplaced(path: string, identity: string | undefined, signal: AbortSignal): Promise<void> {
  const isReplaced = async () => {
    const current = await identityOf(path);
    return current === undefined || current !== identity || undefined;
  };
  await waitInDirectory(dirname(path), isReplaced, signal);
}

/** Resolves once `check` gives a value; looks at each event in the directory, and every two seconds. Rejects when aborted. */
export async function waitInDirectory<T extends {}>(
  directory: string,
  check: () => Promise<T | undefined>,
  signal: AbortSignal,
): Promise<T> {
  for (;;) {
    const event = Promise.withResolvers<void>();
    using _watcher = watchDirectory(directory, event.resolve);
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

function watchDirectory(directory: string, onEvent: () => void): Disposable {
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(directory, onEvent);
    watcher.on("error", onEvent);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error; // the poll finds it once it is there
  }
  return { [Symbol.dispose]: () => watcher?.close() };
}
