import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { stringify } from "yaml";
import type { ServerFacts } from "../pool/inventory.ts";
import { createLatest } from "../program/latest.ts";
import { silentLog } from "../program/testing.ts";
import type { RenewLeasesRequest } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CA, TEST_CLIENT_NAME, TEST_SERVER } from "../tls/testing.ts";
import type { ClientRules } from "./configuration/clients.ts";
import type { DataPlaneConfiguration } from "./dataplane/configuration.ts";
import type { ServerGpu } from "./gpus/gpu.ts";
import { simulatedGpus } from "./gpus/simulated.ts";
import type { Ledger } from "./leases/ledger.ts";
import { startServer } from "./pool_server.ts";

export { CAN_ISOLATE, createTestDataPlane } from "./dataplane/testing/sandboxes.ts";

export interface PoolServerOptions {
  /** 0: any free port. */
  port?: number;
  hostname?: string;
  gpus?: number;
  memoryMb?: number;
  /** By default the client of tests, which has all GPUs. */
  clients?: readonly ClientRules[];
  /** Time until a lease that is not renewed expires, in ms. */
  timeToLive?: number;
  /** That of leases that pods took themselves, in ms. By default the same. */
  podTimeToLive?: number;
  /** Number of claims that the server handles without the client getting the answer. */
  lostAnswers?: number;
  /** Called with each request to renew leases. The server answers once it returns. */
  onRenew?: (request: RenewLeasesRequest) => Promise<void> | void;
  /** What runs for each lease. Its gate is at any free port. */
  dataPlane?: DataPlaneConfiguration;
  /** The ledger's clock, in ms. */
  now?: () => number;
}

export interface RunningPoolServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** The server's GPUs now. */
  readonly gpus: readonly ServerGpu[];
  /** Replaces the server's GPUs, as when one fails. */
  setGpus(gpus: readonly ServerGpu[]): void;
  /** Begins to drain the server, or ends it. */
  setDraining(draining: boolean): void;
  /** Replaces the clients, as a change of the configuration does. */
  setClients(clients: readonly ClientRules[]): void;
  readonly facts: ServerFacts;
  readonly ledger: Ledger;
  /** Resolves once somebody is attached to this lease. */
  attached(leaseId: string): Promise<void>;
}

/** A client with all GPUs, whose pods may hold as many units as there are. */
export const TEST_RULES: ClientRules = { name: TEST_CLIENT_NAME, gpus: "all", podUnits: 100_000 };

/** The holder of leases that tests claim from the ledger itself. */
export const TEST_HOLDER = { client: TEST_CLIENT_NAME, isPod: false };

/** Starts a simulated pool server in this process, for tests. Its GPUs are `hostname/0`, `hostname/1` and so on. */
export async function startPoolServer({
  port = 0,
  hostname = "server",
  gpus: count = 1,
  memoryMb = 16_000,
  clients = [TEST_RULES],
  timeToLive = 600_000,
  podTimeToLive = timeToLive,
  lostAnswers = 0,
  onRenew,
  dataPlane,
  now,
}: PoolServerOptions = {}): Promise<RunningPoolServer> {
  const facts = { hostname, hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" };
  let lost = lostAnswers;
  const attached = createLatest<ReadonlySet<string>>(new Set());
  const server = await startServer({
    port,
    host: "127.0.0.1",
    tls: TEST_SERVER,
    facts,
    gpus: simulatedGpus({ count, memory: memoryMb, model: "Simulated GPU" }, hostname),
    clients,
    timeToLive,
    podTimeToLive,
    dataPlane: dataPlane && { configuration: dataPlane, gatePort: 0 },
    ...(now ? { now } : {}),
    wrap: (service) => ({
      ...service,
      claim(request, context) {
        const response = service.claim(request, context);
        if (lost-- > 0) throw new ConnectError("The answer was lost", Code.Unavailable);
        return response;
      },
      async renewLeases(request, context) {
        await onRenew?.(request);
        return service.renewLeases(request, context);
      },
      async *attachLease(request, context) {
        for await (const state of service.attachLease(request, context)) {
          attached.set(new Set(attached.current).add(request.leaseId));
          yield state;
        }
      },
    }),
    drain: 50,
    log: silentLog,
  });
  return {
    address: `127.0.0.1:${server.port}`,
    port: server.port,
    get gpus() {
      return server.state.gpus;
    },
    setGpus: server.setGpus,
    setDraining: server.setDraining,
    setClients: server.setClients,
    facts,
    ledger: server.ledger,
    async attached(leaseId) {
      for await (const ids of attached.changes(AbortSignal.timeout(20_000))) if (ids.has(leaseId)) return;
      throw new Error(`Nobody has attached to ${leaseId}`);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/**
 * Writes the configuration of a server process for tests, which listens on any free port of 127.0.0.1 and accepts the client of tests.
 * `parts` replace those that it has. Returns its path.
 */
export async function writeTestConfiguration(folder: string, parts: object = {}): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "ca.crt"), TEST_CA.cert);
  await writeFile(join(folder, "ca.key"), TEST_CA.key, { mode: 0o600 });
  const path = join(folder, "server.yaml");
  const configuration = {
    name: "gpu-server",
    listen: { host: "127.0.0.1", port: 0 },
    gpus: { simulated: {} },
    tls: { ca: "ca.crt", caKey: "ca.key", hosts: ["127.0.0.1", "localhost"] },
    clients: [TEST_RULES],
  };
  await writeFile(path, stringify({ ...configuration, ...parts }));
  return path;
}
