import { join } from "node:path";
import { createTlsFolder, startServer } from "../common/server_process.ts";
import { runLoad } from "./load.ts";

/** Reviews after which the JIT compiler is done and the heap has its final size. */
const WARM_UP = 10_000;

/** Measures the webhook's resident memory after 10,000 reviews of 20 KB pods, and after `reviews`. */
export async function benchMemory({ reviews }: { reviews: number }): Promise<Record<string, string>[]> {
  await using tls = await createTlsFolder();
  await using webhook = await startServer("webhook/main.ts", {
    tls: tls.path,
    environment: { ALLOCATION: "units", TOKENS: "off" },
  });
  const load = { port: webhook.port, ca: join(tls.path, "ca.pem"), bytes: 20_000, connections: 16 };
  const early = await memoryAfter(WARM_UP);
  const late = await memoryAfter(reviews - WARM_UP);
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  return [
    { reviews: String(WARM_UP), memory: megabytes(early) },
    { reviews: String(reviews), memory: megabytes(late), ratio: (late / early).toFixed(2) },
  ];

  async function memoryAfter(count: number): Promise<number> {
    const { failures } = await runLoad({ ...load, reviews: count });
    if (failures > 0) throw new Error(`${failures} reviews failed`);
    return webhook.memory();
  }
}
