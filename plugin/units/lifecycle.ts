import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../../grpc/client.ts";
import { serveGrpc } from "../../grpc/server.ts";
import { type Backoff, createBackoff } from "../../program/backoff.ts";
import type { Latest } from "../../program/latest.ts";
import type { Logger } from "../../program/log/log.ts";
import { DevicePlugin, Registration } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { createFileWatch, type FileWatch, fileIdentity } from "../file_watch.ts";
import type { PluginMetrics } from "../metrics.ts";
import type { UnitList } from "./devices.ts";
import { checkSocketDirectory, removeStaleSockets, uniqueSocketName } from "./plugin_sockets.ts";
import { keepRegistered } from "./registration_loop.ts";
import { createDevicePluginService, OPTIONS } from "./service.ts";

export interface LifecycleOptions {
  /** The kubelet's device-plugins directory. */
  directory: string;
  /** Prefix of the names of the plugin's sockets. */
  socketName: string;
  resourceName: string;
  units: Latest<UnitList>;
  log: Logger;
  metrics: PluginMetrics;
  /** Called with true once the kubelet has received the list, and with false when the registration ends. */
  onRegistered: (registered: boolean) => void;
  backoff?: Backoff;
  /** Time limit for the kubelet's answer to Register, and then for its call of ListAndWatch, in ms. */
  registrationTimeout?: number;
  signal: AbortSignal;
}

/**
 * Waits for the first list and for the kubelet, serves the device plugin, registers it, and verifies the registration. It starts again
 * when any of these ends: the kubelet replaces its socket, the plugin's own socket disappears, or the kubelet ends the stream. Returns
 * when the signal is aborted.
 *
 * @throws {ConfigError} if the directory leaves no room for the path of a socket.
 * @throws {DirectoryDeletedError} if the directory was deleted on the node.
 */
export async function runLifecycle(options: LifecycleOptions): Promise<void> {
  const { directory, socketName, units, log, metrics, signal } = options;
  const { backoff = createBackoff(), registrationTimeout = 10_000 } = options;
  const kubeletSocket = join(directory, "kubelet.sock");
  const fileWatch = createFileWatch({ log });
  checkSocketDirectory("KUBELET_DIR", directory, socketName);
  for await (const _ of units.changes(signal)) break; // a registration without a list could not be verified
  let kubelet: string | undefined;
  const attempt = async () => {
    kubelet = await fileWatch.untilFound(directory, () => fileIdentity(kubeletSocket), signal);
    await removeStaleSockets(directory, socketName);
    return serveOnce({ ...options, fileWatch, kubeletSocket, kubelet, backoff, registrationTimeout });
  };
  await keepRegistered(attempt, {
    log,
    registrations: metrics.registrations,
    backoff,
    untilWorthwhile: (until) => fileWatch.untilReplaced(kubeletSocket, kubelet, until),
    signal,
  });
}

/** After this time a registration counts as successful, in ms: the backoff starts again at the next failure. */
const STABLE = 1000;

interface Attempt extends LifecycleOptions {
  fileWatch: FileWatch;
  kubeletSocket: string;
  /** Identity of the kubelet's socket at the start of the attempt. */
  kubelet: string;
  backoff: Backoff;
  registrationTimeout: number;
}

/** Runs one registration, from serving to its end. Returns why it ended. */
async function serveOnce(attempt: Attempt): Promise<string> {
  const { directory, socketName, resourceName, units, log, metrics, onRegistered, signal } = attempt;
  const { backoff, registrationTimeout, fileWatch, kubeletSocket, kubelet } = attempt;
  // A unique name for each attempt: an old instance that ends late cannot end the registration of a new one
  // (kubernetes/kubernetes#121994), and Register is never called twice for one endpoint.
  const endpoint = uniqueSocketName(socketName);
  const path = join(directory, endpoint);
  const listed = Promise.withResolvers<void>();
  const streamEnded = Promise.withResolvers<string>();
  const service = createDevicePluginService({
    units,
    log,
    metrics,
    onList: (event) => (event === "first" ? listed.resolve() : streamEnded.resolve("The kubelet ended the stream")),
  });
  await using _server = await serveGrpc({
    listen: { path },
    routes: (router) => router.service(DevicePlugin, service),
  });
  const own = await fileIdentity(path);

  const attemptEnded = new AbortController();
  const untilEnded = AbortSignal.any([signal, attemptEnded.signal]);
  const changed = Promise.race([
    fileWatch.untilReplaced(kubeletSocket, kubelet, untilEnded).then(() => "The kubelet replaced its socket"),
    fileWatch.untilReplaced(path, own, untilEnded).then(() => "The plugin's socket disappeared"),
  ]);
  const ended = Promise.race([streamEnded.promise, changed]);
  ended.catch(() => {}); // awaited below, unless the attempt fails before
  const registerAndList = async () => {
    await register(kubeletSocket, { endpoint, resourceName, signal: untilEnded, registrationTimeout });
    const timeout = AbortSignal.timeout(registrationTimeout);
    await Promise.race([listed.promise, rejectOn(timeout, "The kubelet did not call ListAndWatch")]);
  };
  let stable: ReturnType<typeof setTimeout> | undefined;
  try {
    const reason = await Promise.race([registerAndList(), ended]);
    if (reason !== undefined) return reason;
    log.info("Registered", { resourceName, endpoint });
    metrics.registrations.inc({ result: "registered" });
    onRegistered(true);
    stable = setTimeout(backoff.reset, STABLE);
    return await ended;
  } finally {
    clearTimeout(stable);
    onRegistered(false);
    attemptEnded.abort();
  }
}

async function register(
  kubeletSocket: string,
  {
    endpoint,
    resourceName,
    signal,
    registrationTimeout: timeoutMs,
  }: Pick<Attempt, "resourceName" | "signal" | "registrationTimeout"> & { endpoint: string },
): Promise<void> {
  using kubelet = connectUnix(kubeletSocket);
  await createClient(Registration, kubelet.transport).register(
    { version: "v1beta1", endpoint, resourceName, options: OPTIONS },
    { signal, timeoutMs },
  );
}

function rejectOn(signal: AbortSignal, message: string): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(new Error(message)), { once: true });
  });
}
