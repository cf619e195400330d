import type { Counter } from "prom-client";
import type { EventRecorder } from "../../kubernetes/events.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";

/** Name of the ConfigMap that CLIENTS_FILE is mounted from in a cluster. */
const CATALOGUE = "bitfusion-clients";

export interface CatalogueReportOptions {
  /** Namespace of the ConfigMap. */
  namespace: string;
  log: Logger;
  reloads: Counter<"result">;
  /** None without a cluster. */
  record?: EventRecorder | undefined;
}

/** A broken catalogue is seen in the log, the metrics, and at the ConfigMap by `kubectl describe`. */
export function createCatalogueReport({ namespace, log, reloads, record }: CatalogueReportOptions) {
  return (error: unknown): void => {
    const message = messageOf(error);
    reloads.inc({ result: "refused" });
    log.error("Client catalogue refused, the last good one stays in force", { reason: message });
    const object = { kind: "ConfigMap", apiVersion: "v1", namespace, name: CATALOGUE };
    record?.({ object, type: "Warning", reason: "CatalogueRefused", message }).catch((error) =>
      log.error("Cannot record an event", { reason: messageOf(error) }),
    );
  };
}
