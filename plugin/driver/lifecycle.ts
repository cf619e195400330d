import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ServiceImpl } from "@connectrpc/connect";
import { serveGrpc } from "../../grpc/server.ts";
import { DRIVER } from "../../pool/driver.ts";
import { type Backoff, createBackoff } from "../../program/backoff.ts";
import type { Logger } from "../../program/log/log.ts";
import { DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";
import { DRAResourceHealth } from "../../proto/gen/drahealth/v1/api_pb.ts";
import { DRAResourceHealth as DRAResourceHealthOf136 } from "../../proto/gen/drahealth/v1alpha1/api_pb.ts";
import { Registration } from "../../proto/gen/pluginregistration/v1/api_pb.ts";
import { assertNotDeleted, createFileWatch, type FileWatch, fileIdentity } from "../file_watch.ts";
import { checkSocketDirectory, removeStaleSockets, uniqueSocketName } from "../units/plugin_sockets.ts";
import { keepRegistered } from "../units/registration_loop.ts";
import type { DriverMetrics } from "./metrics.ts";

/**
 * - `waiting`: the kubelet has not found the driver yet.
 * - `registered`: the kubelet uses the driver.
 * - `refused`: the kubelet does not accept the driver, for example because it does not support Dynamic Resource Allocation.
 */
export type RegistrationState = "waiting" | "registered" | "refused";

export interface DriverLifecycleOptions {
  /** The directory in which the kubelet looks for plugins. */
  registryDirectory: string;
  /** The directory of the driver's own sockets. Created if it does not exist. */
  driverDirectory: string;
  service: ServiceImpl<typeof DRAPlugin>;
  health: ServiceImpl<typeof DRAResourceHealth>;
  log: Logger;
  metrics: Pick<DriverMetrics, "registrations">;
  onState: (state: RegistrationState) => void;
  backoff?: Backoff;
  signal: AbortSignal;
}

/** What the kubelet chooses from. That of Kubernetes 1.36 calls `v1alpha1.DRAResourceHealth` of every driver. */
const SERVICES = ["v1.DRAPlugin", DRAResourceHealth.typeName, DRAResourceHealthOf136.typeName];

/** Prefix of the names of the driver's own sockets. */
const ENDPOINT = "dra";

/**
 * Serves the driver, and the socket by which the kubelet finds it. It starts again when one of the two sockets disappears, or when the
 * kubelet refuses the driver. A kubelet that restarts finds the same sockets. Returns when the signal is aborted.
 *
 * @throws {ConfigError} if a directory leaves no room for the path of a socket.
 * @throws {DirectoryDeletedError} if a directory was deleted on the node.
 */
export async function runDriverLifecycle(options: DriverLifecycleOptions): Promise<void> {
  const { registryDirectory, driverDirectory, log, metrics, signal, backoff = createBackoff() } = options;
  const fileWatch = createFileWatch({ log });
  checkSocketDirectory("PLUGINS_REGISTRY_DIR", registryDirectory, DRIVER);
  checkSocketDirectory("DRIVER_DIR", driverDirectory, ENDPOINT);
  const attempt = async () => {
    await fileWatch.untilFound(registryDirectory, () => fileIdentity(registryDirectory), signal); // the kubelet creates it
    await assertNotDeleted(dirname(driverDirectory));
    await mkdir(driverDirectory, { recursive: true });
    await assertNotDeleted(driverDirectory);
    await removeStaleSockets(registryDirectory, DRIVER);
    await removeStaleSockets(driverDirectory, ENDPOINT);
    return serveOnce({ ...options, fileWatch, backoff });
  };
  await keepRegistered(attempt, { log, registrations: metrics.registrations, backoff, signal });
}

/** Runs one registration, from serving to its end. Returns why it ended. Throws the kubelet's message if it refuses the driver. */
async function serveOnce(
  options: DriverLifecycleOptions & { fileWatch: FileWatch; backoff: Backoff },
): Promise<string> {
  const { registryDirectory, driverDirectory, service, health, log, metrics, onState, fileWatch, backoff, signal } =
    options;
  // Unique names allow several instances to be registered at once. The kubelet calls the one that registered last.
  const endpoint = join(driverDirectory, uniqueSocketName(ENDPOINT));
  const registration = join(registryDirectory, uniqueSocketName(DRIVER));
  const refused = Promise.withResolvers<never>();
  refused.promise.catch(() => {}); // awaited below, unless the attempt ends before
  let registered = false;
  // Disposed in reverse order: the kubelet deregisters the driver before its endpoint closes.
  await using _driver = await serveGrpc({
    listen: { path: endpoint },
    routes: (router) =>
      router.service(DRAPlugin, service).service(DRAResourceHealth, health).service(DRAResourceHealthOf136, health),
  });
  await using _registration = await serveGrpc({
    listen: { path: registration },
    routes: (router) =>
      router.service(Registration, {
        getInfo: () => ({ type: "DRAPlugin", name: DRIVER, endpoint, supportedVersions: SERVICES }),
        notifyRegistrationStatus({ pluginRegistered, error }) {
          if (pluginRegistered) {
            log.info("Registered", { endpoint });
            metrics.registrations.inc({ result: "registered" });
            backoff.reset();
            registered = true;
            onState("registered");
          } else {
            onState("refused");
            refused.reject(new Error(`The kubelet refuses the driver: ${error}`));
          }
          return {};
        },
      }),
  });
  const ended = new AbortController();
  const untilEnded = AbortSignal.any([signal, ended.signal]);
  const untilGone = async (path: string) => {
    await fileWatch.untilReplaced(path, await fileIdentity(path), untilEnded);
    return `${path} disappeared`;
  };
  try {
    return await Promise.race([refused.promise, untilGone(endpoint), untilGone(registration)]);
  } finally {
    ended.abort();
    if (registered) onState("waiting");
  }
}
