import type { Counter } from "prom-client";
import type { EventRecorder } from "../../kubernetes/events.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";

/** Name of the ConfigMap that is mounted at CLIENTS_FILE (webhook/deploy). */
const CATALOGUE = "bitfusion-clients";

export interface CatalogueReportOptions {
  /** Namespace of the ConfigMap. */
  namespace: string;
  log: Logger;
  reloads: Counter<"result">;
  /** Undefined without an API server. */
  record?: EventRecorder | undefined;
}

/**
 * Returns a function that reports an invalid catalogue in the log, in the metrics, and as an Event of the ConfigMap.
 */
export function createCatalogueReport({ namespace, log, reloads, record }: CatalogueReportOptions) {
  return (error: unknown): void => {
    const message = messageOf(error);
    reloads.inc({ result: "refused" });
    log.error("Client catalogue refused: the last valid one stays in use", { reason: message });
    const object = { kind: "ConfigMap", apiVersion: "v1", namespace, name: CATALOGUE };
    record?.({ object, type: "Warning", reason: "CatalogueRefused", message }).catch((error) =>
      log.error("Cannot record an event", { reason: messageOf(error) }),
    );
  };
}
