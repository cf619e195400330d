import { setTimeout as sleep } from "node:timers/promises";
import { BytesValueSchema, durationFromMs } from "@bufbuild/protobuf/wkt";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { connectTls, type GrpcChannel } from "../../grpc/client.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import {
  type DecodedInventory,
  decodeInventory,
  type InventoryFault,
  MAX_GPUS,
  type ReportedInventory,
  readInventory,
} from "./reported_inventory.ts";

export interface WatchOptions {
  tls: TlsIdentity;
  /** Longest time between two messages, in ms. The server sends one in two thirds of it. */
  messageTimeout: number;
  /** Longest time until the first message, in ms. By default the same. */
  firstTimeout?: number;
  /** Called with the connection when the server has answered. What it returns is disposed when the watch ends. */
  onAnswer?: ((channel: GrpcChannel) => Disposable) | undefined;
  /** Called when a heartbeat is overdue, before the watch ends for it. */
  onLate?: () => void;
  /** Called with each message: what is left out of its inventory. */
  onFaults?: (faults: readonly InventoryFault[]) => void;
  /** Limits how fast messages are read. Watches of the same server share it. */
  pace?: MessagePace;
  signal: AbortSignal;
}

/** Shortest heartbeat interval that servers accept, in ms. */
const MIN_HEARTBEAT_INTERVAL = 100;

/** Heartbeats tell that the connection works. */
const NO_PINGS = { pingIntervalMs: Number.POSITIVE_INFINITY };

/** The call, with the inventory in its encoded form: in both messages it is the field 1. No bytes: it is that of the message before. */
const WATCH = { ...PoolService.method.watchInventory, output: BytesValueSchema };

/** Waits before the next message is read, as long as a message with this number of GPUs requires. */
export type MessagePace = (gpus: number, signal: AbortSignal) => Promise<void>;

/** The most messages of a server that are read in a second, with few GPUs each. A server with a heartbeat of 100 ms sends 10. */
const MAX_MESSAGES = 16;

/**
 * Creates the pace at which the messages of a server are read: a second's worth at once, and then in a second messages with
 * {@link MAX_GPUS} GPUs together, but no more than {@link MAX_MESSAGES}. The rest waits in the connection until the server
 * can send no more. Without it, one server could use a core of every program that watches the pool.
 */
export function createMessagePace(): MessagePace {
  let due = Number.NEGATIVE_INFINITY; // when everything that was read should have been read
  return async (gpus, signal) => {
    const now = performance.now();
    due = Math.max(due, now - 1000) + (1000 * Math.max(gpus, MAX_GPUS / MAX_MESSAGES)) / MAX_GPUS;
    if (due > now) await sleep(due - now, undefined, { signal });
  };
}

/**
 * Watches one server over `bitfusion.pool.v1`. Yields its inventory at each change and heartbeat. Does not return.
 *
 * @throws if the connection or the stream ends, no message arrives in time, or the signal is aborted.
 */
export async function* watchServer(address: string, options: WatchOptions): AsyncGenerator<ReportedInventory> {
  const { tls, messageTimeout, firstTimeout = messageTimeout, onAnswer, onLate, onFaults, signal } = options;
  const { pace = createMessagePace() } = options;
  using resources = new DisposableStack();
  const channel = resources.use(connectTls(address, tls, NO_PINGS));
  const timedOut = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const startTimer = (time: number, onEnd: () => void) => {
    const due = performance.now() + time;
    timer = setTimeout(() => {
      if (performance.now() - due > messageTimeout / 4)
        startTimer(time, onEnd); // this program was stopped: messages may wait to be read
      else onEnd();
    }, time);
  };
  const timeOut = (time: number) =>
    timedOut.abort(new DOMException(`No message for ${Math.round(time)} ms`, "TimeoutError"));
  const lateAfter = (messageTimeout * 3) / 4;
  const startMessageTimer = () =>
    startTimer(lateAfter, () => {
      onLate?.();
      startTimer(messageTimeout - lateAfter, () => timeOut(messageTimeout));
    });
  startTimer(firstTimeout, () => timeOut(firstTimeout));
  let last: ReportedInventory | undefined;
  try {
    const heartbeatInterval = durationFromMs(Math.max(MIN_HEARTBEAT_INTERVAL, Math.round((messageTimeout * 2) / 3)));
    const untilEnd = AbortSignal.any([signal, timedOut.signal]);
    const request = createAsyncIterable([{ heartbeatInterval }]);
    const { message } = await channel.transport.stream(WATCH, untilEnd, undefined, undefined, request);
    for await (const { value } of message) {
      clearTimeout(timer); // the time in which no message is read is not the server's
      if (!last && onAnswer) resources.use(onAnswer(channel));
      let size = 0;
      if (!last || value.length > 0) {
        const { inventory, gpus } = decode(value);
        const { reported, faults } = readInventory(inventory, gpus);
        onFaults?.(faults);
        [last, size] = [reported, gpus];
      }
      yield last;
      await pace(size, signal);
      startMessageTimer();
    }
    throw new Error("The server ended the stream");
  } catch (error) {
    timedOut.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function decode(bytes: Uint8Array): DecodedInventory {
  try {
    return decodeInventory(bytes);
  } catch (cause) {
    throw new Error("Cannot read the server's inventory", { cause });
  }
}
