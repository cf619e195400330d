import { writeSync } from "node:fs";

/** Time between two writes while the pipe is full, in ms. */
const RETRY_INTERVAL = 10;

/** How long the exit of the process is delayed while the pipe is full, in ms. */
const EXIT_TIMEOUT = 1000;

/** Longest queue, in characters. It holds some seconds of a busy program, and is small beside the memory of one. */
const MAX_QUEUE = 1024 * 1024;

/**
 * Returns a function that writes lines to a non-blocking file descriptor, in order. Lines are queued while the reader
 * is slow, and dropped while the queue is full. The queue is written before the process exits.
 *
 * @param describeDropped returns the line that stands for a number of dropped lines.
 */
export function createLineOutput(fd: number, describeDropped: (lines: number) => string): (line: string) => void {
  let queue: string[] = [];
  let queued = 0;
  let dropped = 0;
  let unwritten: Uint8Array = new Uint8Array();
  let isScheduled = false;

  function takeQueue(): Uint8Array {
    if (dropped > 0) queue.push(describeDropped(dropped));
    const bytes = Buffer.from(queue.join(""));
    [queue, queued, dropped] = [[], 0, 0];
    return bytes;
  }

  function flush(): void {
    do {
      if (unwritten.length === 0) unwritten = takeQueue();
      unwritten = unwritten.subarray(writeSome(fd, unwritten));
    } while (unwritten.length === 0 && queue.length > 0);
  }

  function flushOrRetry(): void {
    flush();
    isScheduled = unwritten.length > 0;
    if (isScheduled) setTimeout(flushOrRetry, RETRY_INTERVAL).unref();
  }

  process.on("exit", () => {
    const deadline = performance.now() + EXIT_TIMEOUT;
    for (flush(); unwritten.length > 0 && performance.now() < deadline; flush()) Bun.sleepSync(RETRY_INTERVAL);
  });

  return (line) => {
    if (dropped > 0 || (queued > 0 && queued + line.length > MAX_QUEUE)) dropped += 1;
    else {
      queue.push(line);
      queued += line.length;
    }
    if (!isScheduled) flushOrRetry();
  };
}

/**
 * Writes bytes. Returns how many must not be written again: none if the pipe is full, all if the reader has closed it.
 */
function writeSome(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EAGAIN" ? 0 : bytes.length;
  }
}
