import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { connectTls } from "../../grpc/client.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import { type InventoryFault, type ReportedInventory, readInventory } from "./reported_inventory.ts";

export interface WatchOptions {
  tls: TlsIdentity;
  /** Longest time until the first message, and between two messages, in ms. */
  messageTimeout: number;
  /** Called with each message: what is left out of its inventory. */
  onFaults?: (faults: readonly InventoryFault[]) => void;
  signal: AbortSignal;
}

/** Shortest heartbeat interval that servers accept, in ms. */
const MIN_HEARTBEAT_INTERVAL = 100;

/**
 * Watches one server over `bitfusion.pool.v1`. Yields its inventory at each change and heartbeat. Does not return.
 *
 * @throws if the connection or the stream ends, no message arrives within `messageTimeout` ms, or the signal is
 * aborted.
 */
export async function* watchServer(
  address: string,
  { tls, messageTimeout, onFaults, signal }: WatchOptions,
): AsyncGenerator<ReportedInventory> {
  using channel = connectTls(address, tls);
  const timedOut = new AbortController();
  const timer = setTimeout(
    () => timedOut.abort(new DOMException(`No message for ${Math.round(messageTimeout)} ms`, "TimeoutError")),
    messageTimeout,
  );
  try {
    const updates = createClient(PoolService, channel.transport).watchInventory(
      { heartbeatInterval: durationFromMs(Math.max(MIN_HEARTBEAT_INTERVAL, Math.round(messageTimeout / 3))) },
      { signal: AbortSignal.any([signal, timedOut.signal]) },
    );
    for await (const { inventory } of updates) {
      timer.refresh();
      const { reported, faults } = readInventory(inventory);
      onFaults?.(faults);
      yield reported;
    }
    throw new Error("The server ended the stream");
  } catch (error) {
    timedOut.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
