import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../grpc/client.ts";
import { serveGrpc } from "../grpc/server.ts";
import { type Backoff, createBackoff } from "../program/backoff.ts";
import type { Latest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import { DevicePlugin, Registration } from "../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import type { UnitList } from "./devices.ts";
import { identityOf, untilReplaced, waitInDirectory } from "./file_watch.ts";
import type { PluginMetrics } from "./metrics.ts";
import { checkSocketDirectory, freshSocketName, removeStaleSockets } from "./plugin_sockets.ts";
import { keepRegistered } from "./registration_loop.ts";
import { createDevicePluginService, OPTIONS } from "./service.ts";

export interface LifecycleOptions {
  /** The kubelet's device-plugins directory. */
  directory: string;
  /** What the plugin's socket names begin with. */
  socketName: string;
  resourceName: string;
  units: Latest<UnitList>;
  log: Logger;
  metrics: PluginMetrics;
  /** Told when the kubelet has taken the list, and when it is no longer registered. */
  onRegistered: (registered: boolean) => void;
  backoff?: Backoff;
  /** How long the kubelet may take to answer Register, and then to ask for the list, in ms. */
  registrationTimeout?: number;
  signal: AbortSignal;
}

/**
 * Waits for the first list and for the kubelet, serves, registers, verifies; and again from the start when any part ends: the kubelet's socket is
 * another, the own socket is gone, or the kubelet has ended the stream. Returns when the signal is aborted.
 *
 * @throws {ConfigError} when the directory is too long for a socket's path.
 * @throws {DirectoryDeletedError} when it was deleted on the node.
 */
export async function runLifecycle(options: LifecycleOptions): Promise<void> {
  const { directory, socketName, units, log, metrics, signal } = options;
  const { backoff = createBackoff(), registrationTimeout = 10_000 } = options;
  const kubeletSocket = join(directory, "kubelet.sock");
  checkSocketDirectory("KUBELET_DIR", directory, socketName);
  for await (const _ of units.changes(signal)) break; // a registration without a list would be in doubt
  let kubelet: string | undefined;
  const attempt = async () => {
    kubelet = await waitInDirectory(directory, () => identityOf(kubeletSocket), { log, signal });
    await removeStaleSockets(directory, socketName);
    return serveOnce({ ...options, kubeletSocket, kubelet, backoff, registrationTimeout });
  };
  await keepRegistered(attempt, {
    log,
    registrations: metrics.registrations,
    backoff,
    untilWorthwhile: (until) => untilReplaced(kubeletSocket, kubelet, { log, signal: until }),
    signal,
  });
}

/** A registration that has lasted so long, in ms, was a good one: the next failure is a new one. */
const LASTING = 1000;

interface Attempt extends LifecycleOptions {
  kubeletSocket: string;
  /** Identity of the kubelet's socket at the start of the attempt. */
  kubelet: string;
  backoff: Backoff;
  registrationTimeout: number;
}

/** One registration, from serving to its end. Returns why it ended. */
async function serveOnce(attempt: Attempt): Promise<string> {
  const { directory, socketName, resourceName, units, log, metrics, onRegistered, signal } = attempt;
  const { backoff, registrationTimeout, kubeletSocket, kubelet } = attempt;
  // A fresh name each time: an old instance that ends late can then not take the new one's registration with it
  // (kubernetes/kubernetes#121994), and an ambiguous Register is never repeated on one endpoint.
  const endpoint = freshSocketName(socketName);
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
  const own = await identityOf(path);

  const attemptOver = new AbortController();
  const untilOver = AbortSignal.any([signal, attemptOver.signal]);
  const changed = Promise.race([
    untilReplaced(kubeletSocket, kubelet, { log, signal: untilOver }).then(() => "The kubelet's socket is another"),
    untilReplaced(path, own, { log, signal: untilOver }).then(() => "The own socket is gone"),
  ]);
  const ended = Promise.race([streamEnded.promise, changed]);
  ended.catch(() => {}); // awaited below, or of no interest once the attempt has failed
  const takeList = async () => {
    await register(kubeletSocket, { endpoint, resourceName, signal: untilOver, registrationTimeout });
    const timeout = AbortSignal.timeout(registrationTimeout);
    await Promise.race([listed.promise, rejectOn(timeout, "The kubelet did not ask for the list")]);
  };
  let lasting: ReturnType<typeof setTimeout> | undefined;
  try {
    const verdict = await Promise.race([takeList(), ended]);
    if (verdict !== undefined) return verdict;
    log.info("Registered", { resourceName, endpoint });
    metrics.registrations.inc({ result: "registered" });
    onRegistered(true);
    lasting = setTimeout(backoff.reset, LASTING);
    return await ended;
  } finally {
    clearTimeout(lasting);
    onRegistered(false);
    attemptOver.abort();
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
