import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { $ } from "bun";
import { formatLeases, LEASE_FILES } from "../../pool/lease_folder.ts";
import { freePort } from "../../program/testing.ts";
import { residentMemory } from "../common/process_usage.ts";
import type { ServerProcess } from "../common/server_process.ts";
import { LEASE } from "./transfer.ts";

/** Builds the client as its image does, and starts the forwarder of a pod with one container. Disposal ends it. */
export async function startForwarder({ port: gatePort, ca }: { port: number; ca: string }): Promise<ServerProcess> {
  await using stack = new AsyncDisposableStack();
  const { path: folder } = stack.use(await mkdtempDisposable(join(tmpdir(), "forwarder-")));
  const client = join(folder, "bitfusion");
  await $`bun build client/main.ts --outfile ${client} --compile --minify --bytecode --splitting --format=esm`.quiet();
  const leases = [{ address: "localhost:1", leaseId: LEASE.id, secret: LEASE.secret, gatePort }];
  const claim = join(folder, "leases", "claim");
  await mkdir(claim, { recursive: true });
  await writeFile(join(claim, LEASE_FILES.ca), ca);
  await writeFile(join(claim, LEASE_FILES.leases), formatLeases({ containers: [], leases }));
  const port = await freePort();
  const child = Bun.spawn([client, "forward", "--container", `bench=${port}`], {
    env: { BITFUSION_LEASES: join(folder, "leases") },
    stdio: ["ignore", "ignore", "pipe"],
  });
  stack.defer(async () => {
    child.kill();
    await child.exited;
  });
  const lines = child.stderr.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let text = "";
  while (!text.includes("Forwarding")) {
    const { done, value } = await lines.next();
    if (done) throw new Error(`The forwarder has ended: ${text}`);
    text += value;
  }
  const resources = stack.move();
  return {
    port,
    pid: child.pid,
    memory: () => residentMemory(child.pid),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
