import { heading, table } from "../print.ts";
import type { Demo } from "./demo.ts";

/** Shows the GPUs that the pool servers report. */
export async function showPool(number: number, { servers }: Demo): Promise<void> {
  heading(number, "The pool", "Two pool servers in the network own three simulated GPUs.");
  const rows = servers.map(async ({ name, address, gpus }) =>
    (await gpus()).map(({ id, model, memoryMb }) => [name, address, id, model, `${memoryMb} MB`]),
  );
  table(["SERVER", "ADDRESS", "GPU", "MODEL", "MEMORY"], (await Promise.all(rows)).flat());
}
