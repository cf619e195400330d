import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ServiceImpl } from "@connectrpc/connect";
import { serveGrpc } from "../../grpc/server.ts";
import { DRIVER } from "../../pool/driver.ts";
import { type Backoff, createBackoff } from "../../program/backoff.ts";
import type { Logger } from "../../program/log/log.ts";
import { DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";
import { Registration } from "../../proto/gen/pluginregistration/v1/api_pb.ts";
import { identityOf, refuseDeleted, untilReplaced, waitInDirectory } from "../file_watch.ts";
import { checkSocketDirectory, freshSocketName, removeStaleSockets } from "../plugin_sockets.ts";
import { keepRegistered } from "../registration_loop.ts";
import type { DriverMetrics } from "./metrics.ts";

/** waiting: the kubelet has not come yet; refused: it does not want the driver, such as one without Dynamic Resource Allocation. */
export type RegistrationState = "waiting" | "registered" | "refused";

export interface DriverLifecycleOptions {
  /** Where the kubelet looks for plugins. */
  registryDirectory: string;
  /** For the driver's own sockets; made if need be. */
  driverDirectory: string;
  service: ServiceImpl<typeof DRAPlugin>;
  log: Logger;
  metrics: Pick<DriverMetrics, "registrations">;
  onState: (state: RegistrationState) => void;
  backoff?: Backoff;
  signal: AbortSignal;
}

/** What the names of the driver's own sockets begin with. */
const ENDPOINT = "dra";

/**
 * Serves the driver, and beside it the socket by which the kubelet finds it; and again from the start when one of the two sockets is gone,
 * or when the kubelet refuses. A kubelet that restarts finds the same sockets. Returns when the signal is aborted.
 *
 * @throws {ConfigError} when a directory is too long for a socket's path.
 * @throws {DirectoryDeletedError} when one was deleted on the node.
 */
export async function runDriverLifecycle(options: DriverLifecycleOptions): Promise<void> {
  const { registryDirectory, driverDirectory, log, metrics, signal, backoff = createBackoff() } = options;
  checkSocketDirectory("PLUGINS_REGISTRY_DIR", registryDirectory, DRIVER);
  checkSocketDirectory("DRIVER_DIR", driverDirectory, ENDPOINT);
  const attempt = async () => {
    await waitInDirectory(registryDirectory, () => identityOf(registryDirectory), { log, signal }); // the kubelet makes it
    await mkdir(driverDirectory, { recursive: true });
    await refuseDeleted(driverDirectory);
    await removeStaleSockets(registryDirectory, DRIVER);
    await removeStaleSockets(driverDirectory, ENDPOINT);
    return serveOnce({ ...options, backoff });
  };
  await keepRegistered(attempt, { log, registrations: metrics.registrations, backoff, signal });
}

/** From serving to the end of it. Returns why it ended; throws what the kubelet says when it refuses. */
async function serveOnce(options: DriverLifecycleOptions & { backoff: Backoff }): Promise<string> {
  const { registryDirectory, driverDirectory, service, log, metrics, onState, backoff, signal } = options;
  // Names that no other instance has: several are then registered at once, and the kubelet calls the one that came last.
  const endpoint = join(driverDirectory, freshSocketName(ENDPOINT));
  const registration = join(registryDirectory, freshSocketName(DRIVER));
  const refused = Promise.withResolvers<never>();
  refused.promise.catch(() => {}); // awaited below, or of no interest once it is over
  let registered = false;
  // Disposed of in reverse order: the kubelet forgets the driver once its registration is gone.
  await using _driver = await serveGrpc({
    listen: { path: endpoint },
    routes: (router) => router.service(DRAPlugin, service),
  });
  await using _registration = await serveGrpc({
    listen: { path: registration },
    routes: (router) =>
      router.service(Registration, {
        getInfo: () => ({ type: "DRAPlugin", name: DRIVER, endpoint, supportedVersions: ["v1.DRAPlugin"] }),
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
  const over = new AbortController();
  const untilOver = AbortSignal.any([signal, over.signal]);
  const gone = async (path: string) => {
    await untilReplaced(path, await identityOf(path), { log, signal: untilOver });
    return `${path} is gone`;
  };
  try {
    return await Promise.race([refused.promise, gone(endpoint), gone(registration)]);
  } finally {
    over.abort();
    if (registered) onState("waiting");
  }
}
