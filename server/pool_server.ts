import { randomBytes } from "node:crypto";
import type { ServiceImpl } from "@connectrpc/connect";
import { ANONYMOUS } from "../grpc/peer.ts";
import { serveGrpc } from "../grpc/server.ts";
import type { ServerFacts } from "../pool/inventory.ts";
import { createLatest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import { findCaller, mayHold } from "./access.ts";
import type { ClientRules } from "./configuration/clients.ts";
import { type DataPlaneOptions, openDataPlane } from "./data_plane.ts";
import { createDrainReport } from "./drain.ts";
import type { ServerGpu } from "./gpus/gpu.ts";
import type { GpuProcesses } from "./gpus/gpu_source.ts";
import { endExpired } from "./leases/end_expired.ts";
import type { LeaseStore } from "./leases/lease_store.ts";
import { createLedger, type Ledger } from "./leases/ledger.ts";
import { createServerMetrics, type ServerMetrics } from "./metrics/metrics.ts";
import { createRefusalLog } from "./refusal_log.ts";
import { createPoolService, type ServerState } from "./service.ts";

export interface PoolServerOptions {
  /** TCP port; 0 selects a free port. */
  port: number;
  /** Address to listen on; all by default. */
  host?: string | undefined;
  tls: TlsIdentity;
  facts: ServerFacts;
  gpus: readonly ServerGpu[];
  clients: readonly ClientRules[];
  /** Whether the server is drained. */
  draining?: boolean;
  /** Time until a lease that is not renewed expires, in ms: one of a cluster, and one that a pod took itself. */
  timeToLive: number;
  podTimeToLive: number;
  /** Where a restarted server finds its leases. Undefined: their holders take them again. */
  store?: LeaseStore | undefined;
  /** What forwards calls to GPUs. Undefined: the server only grants leases. */
  dataPlane?: Pick<DataPlaneOptions, "configuration" | "gatePort"> | undefined;
  /** The clock of the ledger and of the drain, in ms. */
  now?: () => number;
  /** How long disposal waits for running calls, in ms. */
  drain?: number;
  /** Changes the service, for tests. */
  wrap?: (service: ServiceImpl<typeof PoolService>) => ServiceImpl<typeof PoolService>;
  log: Logger;
}

/**
 * How often the server ends the leases that were not renewed, in ms. Connections and processes end with their leases. Calls end them, too, so that
 * no answer has one that has expired.
 */
const LEASE_PERIOD = 1000;

/** A pool server that runs. */
export interface PoolServer extends AsyncDisposable {
  readonly port: number;
  readonly ledger: Ledger;
  /** The server's GPUs and clients now. */
  readonly state: ServerState;
  readonly metrics: ServerMetrics;
  /** Takes a reading of the processes on the GPUs. */
  readProcesses(gpus: readonly GpuProcesses[]): void;
  setGpus(gpus: readonly ServerGpu[]): void;
  /** Begins to drain the server, or ends it. */
  setDraining(draining: boolean): void;
  /**
   * Replaces the clients. Ends at once what the new ones do not allow: leases, watches and connections of clients that
   * are gone, and leases on GPUs that are another client's now.
   */
  setClients(clients: readonly ClientRules[]): void;
  /** Replaces the server's identity. If the clients' CAs change, all connections are closed: the clients connect again. */
  useTls(tls: TlsIdentity): void;
}

export async function startServer(options: PoolServerOptions): Promise<PoolServer> {
  const {
    port,
    host,
    facts,
    gpus,
    clients,
    draining = false,
    timeToLive,
    podTimeToLive,
    store,
    dataPlane: dataPlaneOptions,
    now,
    drain,
    wrap = (service) => service,
    log,
  } = options;
  let { tls } = options;
  const state = createLatest<ServerState>({ gpus, clients, draining });
  const currentState = () => state.current as ServerState;
  let saving: Promise<void> | undefined;
  const ledger = createLedger({
    gpus: () => currentState().gpus,
    timeToLive: ({ isPod }) => (isPod ? podTimeToLive : timeToLive),
    ...(now ? { now } : {}),
    newId: () => crypto.randomUUID(),
    newSecret: () => randomBytes(32).toString("base64url"),
    onChange: () => {
      saving = store?.save(ledger);
    },
    onEnded: (lease) => metrics.countHeld(lease),
  });
  for (const lease of (await store?.load(ledger)) ?? []) if (mayHold(lease, clients, gpus)) ledger.restore(lease);
  if (store) {
    await store.save(ledger); // it says at once if the file cannot be written
    log.info("Leases restored", { leases: ledger.leases().length });
  }
  await using stack = new AsyncDisposableStack();
  stack.defer(() => saving);
  const currentGpus = () => currentState().gpus;
  const usesOf = (leaseId: string) => dataPlane?.use.usesOf(leaseId) ?? [];
  const metrics = createServerMetrics({
    cert: () => tls.cert,
    leases: ledger.leases,
    now: ledger.now,
    usesOf,
    memoryOf: (gpuId) => currentGpus().find(({ id }) => id === gpuId)?.memoryMb ?? 0,
  });
  const common = { host, tls, ledger, gpus: currentGpus, log };
  const counts = { onUse: metrics.countUse, onProcessEnded: metrics.countEnded };
  const dataPlane = dataPlaneOptions && stack.use(await openDataPlane({ ...dataPlaneOptions, ...common, ...counts }));
  const reportDrain = createDrainReport({ now: ledger.now, log });
  function checkLeases(): void {
    endExpired(ledger, log);
    reportDrain(currentState().draining, ledger.leases());
  }
  checkLeases();
  const timer = setInterval(checkLeases, LEASE_PERIOD);
  stack.defer(() => clearInterval(timer));
  const saved = async () => saving;
  const limits = dataPlaneOptions?.configuration.limiter?.limits;
  const gate = dataPlane?.facts;
  const service = wrap(createPoolService({ facts, state, ledger, saved, gate, limits, usesOf, log }));
  const server = stack.use(
    await serveGrpc({
      listen: { port, ...(host === undefined ? {} : { host }), tls, allowAnonymous: true },
      routes: (router) => router.service(PoolService, service),
      ...(drain === undefined ? {} : { drain }),
      onRefused: createRefusalLog(log),
    }),
  );
  const resources = stack.move();
  return {
    port: server.port,
    ledger,
    get state() {
      return currentState();
    },
    metrics,
    readProcesses: (gpus) => dataPlane?.use.read(gpus),
    setGpus: (gpus) => state.set({ ...currentState(), gpus }),
    setDraining(draining) {
      state.set({ ...currentState(), draining });
      checkLeases();
    },
    setClients(clients) {
      state.set({ ...currentState(), clients });
      const { gpus } = currentState();
      for (const { id, holder, owner } of ledger.end((lease) => !mayHold(lease, clients, gpus))) {
        log.info("Lease ended", { why: "the configuration has changed", lease: id, client: holder.client, owner });
      }
      // those of attached leases have ended with the leases
      server.closeConnections((peer) => peer !== ANONYMOUS && "refusal" in findCaller(peer, clients));
    },
    useTls(next) {
      server.useTls(next);
      dataPlane?.useTls(next);
      if (next.ca !== tls.ca) server.closeConnections(() => true);
      tls = next;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
