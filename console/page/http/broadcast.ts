import { createPatcher } from "../state/patch.ts";
import type { PageState } from "../state/wire.ts";

/** Server-sent events: `state` with the whole page first, then `patch` with what has changed. */
export interface Broadcast extends Disposable {
  /** Sends the changes to all readers. */
  publish(state: PageState): void;
  /** A stream for one reader. Undefined if there are too many. */
  open(): ReadableStream<Uint8Array> | undefined;
  readonly readers: number;
}

export interface BroadcastOptions {
  maxReaders?: number;
  /** A reader that leaves this much unread is dropped, in bytes. Its browser connects again, and gets the whole page. */
  maxUnread?: number;
  /** Time between two comments, in ms: they find connections that are broken. */
  heartbeat?: number;
}

/** Disposal ends all streams. */
export function createBroadcast(options: BroadcastOptions = {}): Broadcast {
  const { maxReaders = 200, maxUnread = 8_000_000, heartbeat = 15_000 } = options;
  const encoder = new TextEncoder();
  const readers = new Set<ReadableStreamDefaultController<Uint8Array>>();
  const patcher = createPatcher();
  let current: PageState | undefined;

  function send(text: string): void {
    if (readers.size === 0) return;
    const bytes = encoder.encode(text);
    for (const reader of readers) sendTo(reader, bytes);
  }

  function sendTo(reader: ReadableStreamDefaultController<Uint8Array>, bytes: Uint8Array): void {
    if ((reader.desiredSize ?? 0) < 0) drop(reader);
    else reader.enqueue(bytes);
  }

  function drop(reader: ReadableStreamDefaultController<Uint8Array>): void {
    if (readers.delete(reader)) reader.close();
  }

  const timer = setInterval(() => send(": \n\n"), heartbeat);
  return {
    publish(state) {
      const patch = patcher.next(state);
      if (!current) send(event("state", state));
      else if (patch) send(event("patch", patch));
      current = state;
    },
    open() {
      if (readers.size >= maxReaders) return undefined;
      let own: ReadableStreamDefaultController<Uint8Array> | undefined;
      return new ReadableStream<Uint8Array>(
        {
          start(controller) {
            own = controller;
            readers.add(controller);
            controller.enqueue(encoder.encode(current ? event("state", current) : ": \n\n"));
          },
          cancel() {
            if (own) readers.delete(own);
          },
        },
        new ByteLengthQueuingStrategy({ highWaterMark: maxUnread }),
      );
    },
    get readers() {
      return readers.size;
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      for (const reader of readers) drop(reader);
    },
  };
}

/** An event of one line: JSON has no line breaks. */
function event(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
