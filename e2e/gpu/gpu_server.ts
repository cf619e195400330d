import { mkdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createClient } from "@connectrpc/connect";
import { stringify } from "yaml";
import { connectTls } from "../../grpc/client.ts";
import { formatLeases, LEASE_FILES, LEASES_VARIABLE } from "../../pool/lease_folder.ts";
import { startProgram } from "../../program/processes/child_program.ts";
import { type Gpu, type Inventory, PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { UID_COUNT } from "../../server/dataplane/configuration.ts";
import { createAuthority, formatAuthority, issueClientCertificate } from "../../tls/authority.ts";

/** The parts of a server's configuration that a check uses. */
export interface CheckedParts {
  readonly gpus: object;
  readonly dataPlane?: object | undefined;
}

/** A pool server that runs for the checks alone. */
export interface GpuServer extends AsyncDisposable {
  readonly inventory: Inventory;
  /** Takes a lease on a share of a GPU, and opens a port that leads to its data-plane process. */
  lease(gpu: Gpu, percent: number): Promise<OpenLease>;
}

/** A lease with a port at 127.0.0.1. Disposal closes the port and ends the lease. */
export interface OpenLease extends AsyncDisposable {
  readonly port: number;
}

const ROOT = resolve(import.meta.dir, "../..");
const CLIENT = "gpu-check";

/** Where the data-plane processes have their folders: they do not see `/tmp`. */
const DATA_PLANE_FOLDER = `/run/bitfusion-gpu-check-${process.pid}`;

/** The first uid of the data-plane processes. A server ends all processes that have its uids: others must not have them. */
const FIRST_UID = 3_000_000_000 + UID_COUNT * (process.pid % 10_000);

/** Whether a process of the checks has this uid. */
export function isCheckedUid(uid: number): boolean {
  return uid >= FIRST_UID && uid < FIRST_UID + UID_COUNT;
}

/** Thrown with what the server says when it cannot start: there is no GPU, or the machine cannot isolate processes. */
export class NoServerError extends Error {
  override name = "NoServerError";
}

/**
 * Starts a pool server with these GPUs and this data plane, on ports of its own.
 *
 * @param folder for its files
 * @throws {NoServerError} if it cannot start.
 */
export async function startGpuServer(folder: string, { gpus, dataPlane }: CheckedParts): Promise<GpuServer> {
  const validity = { now: Date.now(), lifetime: 24 * 3600_000 };
  const authority = await createAuthority(CLIENT, validity);
  const ca = await formatAuthority(authority);
  await writeFile(join(folder, "ca.crt"), ca.cert);
  await writeFile(join(folder, "ca.key"), ca.key, { mode: 0o600 });
  const path = join(folder, "server.yaml");
  const configuration = {
    name: CLIENT,
    listen: { host: "127.0.0.1", port: 0 },
    gpus,
    ...(dataPlane ? { dataPlane: { ...dataPlane, folder: DATA_PLANE_FOLDER, firstUid: FIRST_UID } } : {}),
    gate: { port: 0 },
    leases: { timeToLive: "1h" },
    tls: { ca: "ca.crt", caKey: "ca.key", hosts: ["127.0.0.1"] },
    clients: [{ name: CLIENT, gpus: "all" }],
  };
  await writeFile(path, stringify(configuration));
  await using stack = new AsyncDisposableStack();
  if (dataPlane) stack.defer(() => rm(DATA_PLANE_FOLDER, { recursive: true, force: true }));
  const program = stack.use(
    startProgram(join(ROOT, "server/main.ts"), {
      environment: { CONFIG_FILE: path },
      ready: "Pool server started",
      onLine: (line) => {
        if (line.message === "Data-plane output" || line.level !== "INFO") console.error(JSON.stringify(line));
      },
    }),
  );
  const started = await program.started.catch(async (error) => {
    const reason = /^bitfusion-server: (.*)$/m.exec(await program.stderr)?.[1];
    throw reason === undefined ? error : new NoServerError(reason);
  });
  const address = `127.0.0.1:${started.port}`;
  const pair = await issueClientCertificate(authority, { name: CLIENT, ...validity });
  const channel = stack.use(connectTls(address, { ...pair, ca: ca.cert }));
  const client = createClient(PoolService, channel.transport);
  const { inventory } = await client.getInventory({});
  if (!inventory) throw new Error("The server has told no inventory");
  let leases = 0;
  const resources = stack.move();
  return {
    inventory,
    async lease(gpu, percent) {
      await using stack = new AsyncDisposableStack();
      const number = ++leases;
      const owner = { namespace: CLIENT, pod: `check-${number}`, container: "main" };
      const share = { case: "percent", value: percent } as const;
      const { lease, secret, gate } = await client.claim({ owner, gpus: 1, share, gpuIds: [gpu.id] });
      const leaseId = lease?.id ?? "";
      stack.defer(async () => void (await client.release({ leaseId })));
      const claim = join(folder, `leases-${number}`, "claim");
      await mkdir(claim, { recursive: true });
      await writeFile(join(claim, LEASE_FILES.ca), ca.cert);
      const proof = { address, leaseId, secret, ...(gate ? { gatePort: gate.port } : {}) };
      const text = formatLeases({ containers: [owner.container], leases: [proof] });
      await writeFile(join(claim, LEASE_FILES.leases), text, { mode: 0o600 });
      const { port } = stack.use(await startForward(join(claim, "..")));
      const resources = stack.move();
      return { port, [Symbol.asyncDispose]: () => resources.disposeAsync() };
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Starts `bitfusion forward` with the leases in a folder, as in a pod. */
async function startForward(leases: string): Promise<{ readonly port: number } & AsyncDisposable> {
  const command = [process.execPath, join(ROOT, "client/main.ts"), "forward", "--container", "main=0"];
  const child = Bun.spawn(command, {
    env: { PATH: process.env.PATH, [LEASES_VARIABLE]: leases },
    stdio: ["ignore", "inherit", "pipe"],
  });
  const opened = Promise.withResolvers<number>();
  async function readMessages(): Promise<void> {
    let output = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      output += text;
      const port = /Forwarding 127\.0\.0\.1:(\d+)/.exec(text)?.[1];
      if (port === undefined)
        process.stderr.write(text); // such as why a connection has failed
      else opened.resolve(Number(port));
    }
    opened.reject(new Error(`bitfusion forward ended: ${output.trim()}`));
  }
  void readMessages();
  return {
    port: await opened.promise,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}
