import { writeSync } from "node:fs";

/** Time between two attempts while the reader is behind, in ms. */
const RETRY = 10;

/** How long the exit of the process waits for a reader that is behind, in ms. */
const EXIT_TIMEOUT = 1000;

/**
 * Returns a function that writes lines to a non-blocking file descriptor, in order. Lines that a slow reader does not accept yet are
 * queued. When the process exits, in whichever way, the queue is written first.
 */
export function createLineOutput(fd: number): (line: string) => void {
  let queue: string[] = [];
  let unwritten: Uint8Array = new Uint8Array();
  let isScheduled = false;

  function flush(): void {
    do {
      if (unwritten.length === 0) [unwritten, queue] = [Buffer.from(queue.join("")), []];
      unwritten = unwritten.subarray(writeSome(fd, unwritten));
    } while (unwritten.length === 0 && queue.length > 0);
  }

  function flushOrRetry(): void {
    flush();
    isScheduled = unwritten.length > 0;
    if (isScheduled) setTimeout(flushOrRetry, RETRY).unref();
  }

  process.on("exit", () => {
    const deadline = performance.now() + EXIT_TIMEOUT;
    for (flush(); unwritten.length > 0 && performance.now() < deadline; flush()) Bun.sleepSync(RETRY);
  });

  return (line) => {
    queue.push(line);
    if (!isScheduled) flushOrRetry();
  };
}

/** Writes bytes, and returns how many of them are done with. */
function writeSome(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EAGAIN" ? 0 : bytes.length; // without a reader the program goes on
  }
}
