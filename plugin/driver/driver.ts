import { rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { Registry } from "prom-client";
import { createEventRecorder } from "../../kubernetes/events.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { waitForApiServer } from "../../kubernetes/wait_for_api_server.ts";
import { DRIVER } from "../../pool/driver.ts";
import { createPoolServers } from "../../pool/sources/pool_servers.ts";
import type { Token } from "../../pool/token/token.ts";
import { createKeyedMutex } from "../../program/keyed_mutex.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { clampTimeout } from "../../program/timers.ts";
import { createFileWatch } from "../file_watch.ts";
import { createRoundTrips } from "../round_trips.ts";
import type { PluginSettings } from "../settings.ts";
import { createConfirmedClaims } from "./claims/confirmed_claims.ts";
import { createConsumerFinder } from "./claims/consumers.ts";
import { createClaimReader, createPodReader, createSliceReader } from "./claims/readers.ts";
import { createHeldEvents } from "./events/held_events.ts";
import { reportLosses } from "./events/loss_events.ts";
import { type ClaimFiles, createClaimFiles } from "./files/claim_files.ts";
import type { PreparedClaim } from "./files/prepared_claim.ts";
import { createHealthService } from "./health/device_health.ts";
import type { NodeHealth } from "./health/lease_health.ts";
import { runStatusWriter } from "./health/status_writer.ts";
import { createKeeper } from "./keep.ts";
import { type RegistrationState, runDriverLifecycle } from "./lifecycle.ts";
import { createDriverMetrics } from "./metrics.ts";
import { watchPaths } from "./paths/path_watch.ts";
import { createSlowPathEvents } from "./paths/slow_path_events.ts";
import { createPreparer } from "./prepare.ts";
import { createDriverService } from "./service.ts";
import { runSweeper } from "./sweep.ts";

export interface Driver {
  /** What the driver still waits for. Undefined if it is ready. */
  notReady(): string | undefined;
  /**
   * Returns when the signal is aborted. Then nothing of the driver is left on the node, but the files of prepared claims.
   *
   * @throws {DirectoryDeletedError} if a directory was deleted on the node.
   */
  run(signal: AbortSignal): Promise<void>;
}

export interface DriverOptions {
  settings: Pick<
    PluginSettings,
    | "allocation"
    | "pluginsRegistryDirectory"
    | "driverDirectory"
    | "cdiDirectory"
    | "servers"
    | "nodeName"
    | "outageTime"
    | "slowRoundTrip"
  >;
  /** The pool's token, once it has been read. */
  token: Latest<Token>;
  request: KubernetesRequest;
  /** The registry of its metrics. */
  registry: Registry;
  log: Logger;
}

/** The DRA driver of a node: it prepares the claims of pods for the kubelet, and holds the leases on their GPUs. */
export function createDriver({ settings, token, request, registry, log: parent }: DriverOptions): Driver {
  const { pluginsRegistryDirectory, driverDirectory, cdiDirectory, allocation, servers, nodeName: node } = settings;
  const log = parent.with({ driver: DRIVER });
  const readUnconfirmed = createClaimReader(request);
  const claims = createConfirmedClaims({ readClaim: readUnconfirmed, limit: settings.outageTime });
  const { readClaim } = claims;
  const readPod = createPodReader(request);
  const readSlice = createSliceReader(request);
  const recordDirectory = join(driverDirectory, "claims");
  const files = createClaimFiles({ cdiDirectory, recordDirectory });
  const mutex = createKeyedMutex();
  const preparedClaims = () =>
    files.list().then(
      ({ length }) => length,
      () => Number.NaN,
    );
  const metrics = createDriverMetrics({ registry, preparedClaims });
  // With units, the device plugin measures all servers.
  const roundTrips = allocation === "claims" ? createRoundTrips(registry) : undefined;
  const limit = settings.slowRoundTrip;
  let state: RegistrationState = "waiting";
  let hasAnswered = false;
  return {
    notReady() {
      // Without claims, a kubelet that supports no drivers is fine.
      if (state === "refused" && allocation === "units") return undefined;
      if (state !== "registered") return "Driver not registered with the kubelet";
      return hasAnswered ? undefined : "No answer from the API server yet";
    },
    async run(signal) {
      using pool = createPoolServers({ servers, token });
      const health = createLatest<NodeHealth>();
      const onPrepared = (claim: PreparedClaim) => keeper.expect(claim);
      const preparer = createPreparer({ files, pool, node, readClaim, readPod, readSlice, onPrepared, log });
      const keeper = createKeeper({ files, pool, preparer, claims, mutex, health, log });
      await files.removeUnfinished().catch((error) => {
        log.warn("Cannot remove unfinished files of claims", { reason: messageOf(error) });
      });
      await exposeClaims(files, log, signal).catch((error) => {
        log.warn("Cannot restore CDI files", { reason: messageOf(error) });
      });
      const record = createEventRecorder({ request, component: "bitfusion-driver", countsRepeats: false });
      const findConsumers = createConsumerFinder({ readClaim: readUnconfirmed, readPod, node });
      await using heldEvents = createHeldEvents({ record, log, signal });
      const lifecycle = runDriverLifecycle({
        registryDirectory: pluginsRegistryDirectory,
        driverDirectory,
        service: createDriverService({ preparer, mutex, onPrepared: heldEvents.tell, log, metrics }),
        health: createHealthService(health),
        log,
        metrics,
        onState: (next) => {
          state = next;
        },
        signal,
      });
      const untilAnswered = waitForApiServer({ request, log, signal }).then(() => {
        hasAnswered = true;
      });
      const period = clampTimeout(settings.outageTime / 4);
      const sweeper = runSweeper({ files, preparer, readClaim, mutex, log, period, signal });
      const statusWriter = runStatusWriter({ health, readClaim, request, log, signal });
      const onSlow = createSlowPathEvents({ findConsumers, record, limit, log });
      const pathWatch = roundTrips && watchPaths({ health, roundTrips, limit, onSlow, log, signal });
      const losses = reportLosses({ health, findConsumers, record, log }, signal);
      const untilDeleted = createFileWatch({ log }).untilDeleted(cdiDirectory, signal);
      const parts = [
        lifecycle,
        untilAnswered,
        keeper.run(signal),
        sweeper,
        statusWriter,
        losses,
        pathWatch,
        untilDeleted,
      ];
      await Promise.all(parts);
      for (const folder of [recordDirectory, driverDirectory]) await removeIfEmpty(folder, log);
    },
  };
}

/**
 * Restores the CDI files of all recorded claims before the kubelet finds the driver: their folder is empty after a restart of the node. The keeper does
 * the same later, once it has a token.
 */
async function exposeClaims(files: ClaimFiles, log: Logger, signal: AbortSignal): Promise<void> {
  for (const uid of await files.list()) {
    try {
      const claim = await files.read(uid);
      if (claim) await files.expose(claim, signal);
    } catch (error) {
      if (!signal.aborted) log.warn("Cannot restore the CDI file of a claim", { uid, reason: messageOf(error) });
    }
  }
}

/** A folder that has records of claims, or a socket of another instance, stays. Whoever needs it creates it again. */
async function removeIfEmpty(folder: string, log: Logger): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    const isExpected = ["ENOENT", "ENOTEMPTY"].includes((error as NodeJS.ErrnoException).code ?? "");
    if (!isExpected) log.warn("Cannot remove a folder of the driver", { folder, reason: messageOf(error) });
  }
}
