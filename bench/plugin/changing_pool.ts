import { durationMs } from "@bufbuild/protobuf/wkt";
import { serveGrpc } from "../../grpc/server.ts";
import type { Gpu } from "../../pool/inventory.ts";
import { createLatest } from "../../program/latest.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";

/** A pool server whose first GPU changes its health on demand. */
export interface ChangingPool extends AsyncDisposable {
  readonly address: string;
  readonly gpus: readonly Gpu[];
  /** When the first inventory was sent, as performance.now(). */
  readonly firstTold: Promise<number>;
  change(): void;
}

export async function startChangingPool(count: number): Promise<ChangingPool> {
  const firstTold = Promise.withResolvers<number>();
  const gpus = Array.from({ length: count }, (_, index) => ({
    id: `GPU-fef8089b-4820-abfc-e83e-${index}`,
    model: "Tesla T4",
    memoryMb: 16_000,
    healthy: true,
  }));
  const told = gpus.map((gpu) => ({ ...gpu, memoryMb: BigInt(gpu.memoryMb) }));
  const inventory = createLatest({ hostname: "bench", gpus: told });
  const server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1" },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory({ heartbeatInterval }, { signal }) {
          firstTold.resolve(performance.now());
          const again = () => inventory.current && inventory.set({ ...inventory.current });
          using heartbeat = setInterval(again, heartbeatInterval ? durationMs(heartbeatInterval) : 1000);
          signal.addEventListener("abort", () => clearInterval(heartbeat), { once: true });
          for await (const current of inventory.changes(signal)) yield { inventory: current };
        },
      }),
  });
  let healthy = true;
  return {
    address: `127.0.0.1:${server.port}`,
    gpus,
    firstTold: firstTold.promise,
    change() {
      healthy = !healthy;
      inventory.set({ hostname: "bench", gpus: told.map((gpu, index) => (index === 0 ? { ...gpu, healthy } : gpu)) });
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
