import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { connectTcp } from "../../grpc/client.ts";
import { type Inventory as InventoryMessage, PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { Gpu, PoolServer } from "../inventory.ts";

export interface WatchOptions {
  /** Longest time between two messages, and until the first, in ms. */
  silence: number;
  signal: AbortSignal;
}

/** In ms; servers refuse a shorter one. */
const SHORTEST_HEARTBEAT = 100;

/** What a server tells. */
export type Told = Required<Pick<PoolServer, "gpus" | "facts">>;

/**
 * What one server that speaks `bitfusion.pool.v1` tells, at each change and heartbeat. Throws when the connection or the
 * stream ends, and when nothing has been heard for `silence` ms.
 */
export async function* watchServer(address: string, { silence, signal }: WatchOptions): AsyncGenerator<Told> {
  using channel = connectTcp(address);
  const hung = new AbortController();
  const limit = setTimeout(
    () => hung.abort(new DOMException(`Heard nothing for ${Math.round(silence)} ms`, "TimeoutError")),
    silence,
  );
  try {
    const updates = createClient(PoolService, channel.transport).watchInventory(
      { heartbeatInterval: durationFromMs(Math.max(SHORTEST_HEARTBEAT, Math.round(silence / 3))) },
      { signal: AbortSignal.any([signal, hung.signal]) },
    );
    for await (const { inventory } of updates) {
      limit.refresh();
      yield { gpus: gpusOf(inventory), facts: factsOf(inventory) };
    }
    throw new Error("The server has ended the stream");
  } finally {
    clearTimeout(limit);
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
