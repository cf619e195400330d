import { expect, test } from "bun:test";
import type { PageState } from "../state/wire.ts";
import { createBroadcast } from "./broadcast.ts";

const stateOf = (held: number) => ({ gpus: { a: { held } } }) as unknown as PageState;

/** Reads the events of a stream. Comments are left out. */
function readerOf(stream: ReadableStream<Uint8Array> | undefined) {
  const reader = stream?.pipeThrough(new TextDecoderStream() as never).getReader() as
    | ReadableStreamDefaultReader<string>
    | undefined;
  let rest = "";
  return async (): Promise<string | undefined> => {
    for (;;) {
      const end = rest.indexOf("\n\n");
      if (end < 0) {
        const { value, done = true } = (await reader?.read()) ?? {};
        if (done) return undefined;
        rest += value;
        continue;
      }
      const event = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (!event.startsWith(":")) return event;
    }
  };
}

const STATE = (held: number) => `event: state\ndata: {"gpus":{"a":{"held":${held}}}}`;
const PATCH = (held: number) => `event: patch\ndata: {"gpus":{"a":{"held":${held}}}}`;

test("each reader gets the whole page first, and then what changes, once", async () => {
  using broadcast = createBroadcast();
  const early = readerOf(broadcast.open());
  broadcast.publish(stateOf(1));
  const late = readerOf(broadcast.open());
  broadcast.publish(stateOf(1));
  broadcast.publish(stateOf(2));
  expect([await early(), await early()]).toEqual([STATE(1), PATCH(2)]);
  expect([await late(), await late()]).toEqual([STATE(1), PATCH(2)]);
  expect(await readerOf(broadcast.open())()).toBe(STATE(2));
});

test("a reader that does not read is dropped, and the others go on", async () => {
  using broadcast = createBroadcast({ maxUnread: 60 });
  const lazy = broadcast.open();
  const busy = readerOf(broadcast.open());
  for (let held = 1; held <= 3; held++) {
    broadcast.publish(stateOf(held));
    expect(await busy()).toBe(held === 1 ? STATE(1) : PATCH(held));
  }
  expect(broadcast.readers).toBe(1);
  const unread = readerOf(lazy);
  expect([await unread(), await unread(), await unread()]).toEqual([STATE(1), PATCH(2), undefined]);
});

test("open() refuses more readers than it may have, and admits one again when another has left", async () => {
  using broadcast = createBroadcast({ maxReaders: 1 });
  const first = broadcast.open();
  expect([broadcast.open(), broadcast.readers]).toEqual([undefined, 1]);
  await first?.cancel();
  expect(broadcast.open()).toBeDefined();
});

test("disposal ends the streams", async () => {
  const broadcast = createBroadcast();
  const read = readerOf(broadcast.open());
  broadcast[Symbol.dispose]();
  expect(await read()).toBeUndefined();
});
