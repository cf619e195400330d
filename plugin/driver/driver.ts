import type { Registry } from "prom-client";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { waitForApiServer } from "../../kubernetes/wait_for_api_server.ts";
import { DRIVER } from "../../pool/driver.ts";
import { createKeyedMutex } from "../../program/keyed_mutex.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { PluginSettings } from "../settings.ts";
import { createClaimFiles } from "./claim_files.ts";
import { type RegistrationState, runDriverLifecycle } from "./lifecycle.ts";
import { createDriverMetrics } from "./metrics.ts";
import { createClaimReader, createPodReader } from "./readers.ts";
import { createDriverService } from "./service.ts";
import { runSweeper } from "./sweep.ts";

export interface Driver {
  /** What the driver still waits for. Undefined if it is ready. */
  notReady(): string | undefined;
  /** Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export interface DriverOptions {
  settings: Pick<PluginSettings, "allocation" | "pluginsRegistryDirectory" | "driverDirectory" | "cdiDirectory">;
  request: KubernetesRequest;
  /** The registry of its metrics. */
  registry: Registry;
  log: Logger;
}

/** The DRA driver of a node: it prepares the claims of pods for the kubelet, and tells their containers which GPUs they hold. */
export function createDriver({ settings, request, registry, log: parent }: DriverOptions): Driver {
  const { pluginsRegistryDirectory, driverDirectory, cdiDirectory, allocation } = settings;
  const log = parent.with({ driver: DRIVER });
  const readClaim = createClaimReader(request);
  const readPod = createPodReader(request);
  const files = createClaimFiles(cdiDirectory);
  const mutex = createKeyedMutex();
  const preparedClaims = () =>
    files.list().then(
      ({ length }) => length,
      () => Number.NaN,
    );
  const metrics = createDriverMetrics({ registry, preparedClaims });
  let state: RegistrationState = "waiting";
  let hasAnswered = false;
  return {
    notReady() {
      // A kubelet that supports no drivers is fine, unless the driver was requested.
      if (state === "refused" && allocation === undefined) return undefined;
      if (state !== "registered") return "Driver not registered with the kubelet";
      return hasAnswered ? undefined : "No answer from the API server yet";
    },
    async run(signal) {
      await files.removeUnfinished().catch((error) => {
        log.warn("Cannot remove unfinished files of claims", { reason: messageOf(error) });
      });
      const lifecycle = runDriverLifecycle({
        registryDirectory: pluginsRegistryDirectory,
        driverDirectory,
        service: createDriverService({ files, readClaim, readPod, mutex, log, metrics }),
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
      await Promise.all([lifecycle, untilAnswered, runSweeper({ files, readClaim, mutex, log, signal })]);
    },
  };
}
