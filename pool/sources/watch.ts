import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { connectTcp } from "../../grpc/client.ts";
import { type Inventory as InventoryMessage, PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { Gpu, PoolServer } from "../inventory.ts";

export interface WatchOptions {
  /** Longest time until the first message, and between two messages, in ms. */
  messageTimeout: number;
  signal: AbortSignal;
}

/** Shortest heartbeat interval that servers accept, in ms. */
const MIN_HEARTBEAT_INTERVAL = 100;

/** The inventory that a server reports. */
export type ReportedInventory = Required<Pick<PoolServer, "gpus" | "facts">>;

/**
 * Watches one server over `bitfusion.pool.v1`. Yields its inventory at each change and heartbeat. Does not return.
 *
 * @throws if the connection or the stream ends, no message arrives within `messageTimeout` ms, or the signal is
 * aborted.
 */
export async function* watchServer(
  address: string,
  { messageTimeout, signal }: WatchOptions,
): AsyncGenerator<ReportedInventory> {
  using channel = connectTcp(address);
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
      yield { gpus: gpusOf(inventory), facts: factsOf(inventory) };
    }
    throw new Error("The server ended the stream");
  } finally {
    clearTimeout(timer);
  }
}

function gpusOf(inventory: InventoryMessage | undefined): Gpu[] {
  return (inventory?.gpus ?? []).map(({ id, model, memoryMb, healthy }) => ({
    id,
    model,
    memoryMb: Number(memoryMb),
    healthy,
  }));
}

function factsOf({
  hostname = "",
  hasRdma = false,
  cudaVersion = "",
  driverVersion = "",
}: Partial<InventoryMessage> = {}) {
  return { hostname, hasRdma, cudaVersion, driverVersion };
}
