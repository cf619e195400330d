import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { connectUnix, type GrpcChannel } from "../../grpc/client.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import {
  DRAPlugin,
  type NodePrepareResourceResponse,
  type NodeUnprepareResourceResponse,
} from "../../proto/gen/dra/v1/api_pb.ts";
import { DRAResourceHealth, type NodeWatchResourcesResponse } from "../../proto/gen/drahealth/v1/api_pb.ts";
import { DRAResourceHealth as DRAResourceHealthOf136 } from "../../proto/gen/drahealth/v1alpha1/api_pb.ts";
import { type PluginInfo, Registration } from "../../proto/gen/pluginregistration/v1/api_pb.ts";

export interface SimulatedDraKubeletOptions {
  /** The plugins_registry directory of the kubelet. Created if it does not exist. */
  directory: string;
  /**
   * Called with the info of each plugin. If it throws, the plugin is refused with that error. While it waits, the
   * kubelet hangs.
   */
  onInfo?: (info: PluginInfo) => void | Promise<void>;
}

interface ClaimId {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/**
 * The parts of a kubelet that discover drivers (pluginmanager) and prepare claims (cm/dra). It uses the real wire
 * format, and follows the rules that a driver can observe. Disposal is like a crash: sockets remain.
 */
export interface SimulatedDraKubelet extends AsyncDisposable {
  /** The registered plugins in the order of registration. Calls go to the last one. */
  readonly plugins: Latest<readonly PluginInfo[]>;
  /** Calls NodePrepareResources. Returns the results by claim UID. */
  prepare(claims: readonly ClaimId[], signal?: AbortSignal): Promise<Record<string, NodePrepareResourceResponse>>;
  /** Calls NodeUnprepareResources. Returns the results by claim UID. */
  unprepare(claims: readonly ClaimId[], signal?: AbortSignal): Promise<Record<string, NodeUnprepareResourceResponse>>;
  /** Calls NodeWatchResources. Kubernetes 1.36 knows version `v1alpha1` only. Ends with the signal. */
  watchHealth(version: "v1" | "v1alpha1", signal: AbortSignal): AsyncIterable<NodeWatchResourcesResponse>;
}

/** Timeouts of GetInfo, NotifyRegistrationStatus, and the calls for claims, in ms. */
const TIMEOUTS = { info: 1000, notify: 5000, claims: 45_000 };

/** How often the directory is polled, in ms. */
const POLL_INTERVAL = 10;

/** Starts a kubelet that polls the directory for the sockets of plugins. */
export async function startSimulatedDraKubelet(options: SimulatedDraKubeletOptions): Promise<SimulatedDraKubelet> {
  const { directory, onInfo } = options;
  await mkdir(directory, { recursive: true });
  const plugins = createLatest<readonly PluginInfo[]>([]);
  const registered = new Map<string, { info: PluginInfo; channel: GrpcChannel }>();
  const known = new Set<string>();
  const registrations = new Set<Promise<void>>();
  const ended = new AbortController();

  function publish(): void {
    plugins.set(Array.from(registered.values(), ({ info }) => info));
  }

  function deregister(socket: string): void {
    registered.get(socket)?.channel[Symbol.dispose]();
    if (registered.delete(socket)) publish();
  }

  async function register(socket: string): Promise<void> {
    const { signal } = ended;
    using channel = connectUnix(join(directory, socket));
    const plugin = createClient(Registration, channel.transport);
    const info = await plugin.getInfo({}, { signal, timeoutMs: TIMEOUTS.info });
    const reason = await Promise.try(() => validateInfo(info)).then(() => "", String);
    if (reason === "") registered.set(socket, { info, channel: connectUnix(info.endpoint) });
    try {
      const status = { pluginRegistered: reason === "", error: reason };
      await plugin.notifyRegistrationStatus(status, { signal, timeoutMs: TIMEOUTS.notify });
      if (reason === "") publish();
    } catch {
      deregister(socket);
    }
  }

  async function validateInfo(info: PluginInfo): Promise<void> {
    if (info.type !== "DRAPlugin") throw new Error(`no handler registered for plugin type: ${info.type}`);
    if (!info.supportedVersions.includes("v1.DRAPlugin")) throw new Error("none of services supported by the plugin");
    if (plugins.current?.some(({ endpoint }) => endpoint === info.endpoint)) {
      throw new Error(`endpoint ${info.endpoint} already registered`);
    }
    await onInfo?.(info);
  }

  async function reconcile(): Promise<void> {
    const sockets = (await readdir(directory).catch(() => [])).filter((name) => !name.startsWith("."));
    for (const socket of known) {
      if (sockets.includes(socket)) continue;
      known.delete(socket);
      deregister(socket);
    }
    for (const socket of sockets) {
      if (known.has(socket)) continue;
      known.add(socket);
      const registration = register(socket).catch(() => void known.delete(socket)); // retried at the next poll
      registrations.add(registration);
      void registration.finally(() => registrations.delete(registration));
    }
  }

  const reconciling = (async () => {
    while (!ended.signal.aborted) {
      await reconcile();
      await sleep(POLL_INTERVAL, undefined, { signal: ended.signal }).catch(() => {}); // rejects only when aborted
    }
  })();

  /** Returns the driver instance that registered last. */
  function lastDriver() {
    const last = [...registered.values()].at(-1);
    if (!last) throw new Error("DRA driver is not registered");
    return last;
  }
  function driver() {
    return createClient(DRAPlugin, lastDriver().channel.transport);
  }

  return {
    plugins,
    async prepare(claims, signal = ended.signal) {
      const request = { claims: claims.map(({ namespace, name, uid }) => ({ namespace, name, uid })) };
      const options = { signal, timeoutMs: TIMEOUTS.claims };
      return validateResults(claims, (await driver().nodePrepareResources(request, options)).claims);
    },
    async unprepare(claims, signal = ended.signal) {
      const request = { claims: claims.map(({ namespace, name, uid }) => ({ namespace, name, uid })) };
      const options = { signal, timeoutMs: TIMEOUTS.claims };
      return validateResults(claims, (await driver().nodeUnprepareResources(request, options)).claims);
    },
    watchHealth(version, signal) {
      const { info, channel } = lastDriver();
      const service = version === "v1" ? DRAResourceHealth : DRAResourceHealthOf136;
      if (!info.supportedVersions.includes(service.typeName)) throw new Error(`${service.typeName} is not supported`);
      return createClient(service, channel.transport).nodeWatchResources(
        {},
        { signal: AbortSignal.any([signal, ended.signal]) },
      );
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await reconciling;
      await Promise.all(registrations);
      for (const { channel } of registered.values()) channel[Symbol.dispose]();
    },
  };
}

/**
 * Returns the results if there is one for each requested claim and for no other. Otherwise throws, as the kubelet does.
 */
function validateResults<Result>(claims: readonly ClaimId[], results: Record<string, Result>): Record<string, Result> {
  const uids = new Set(claims.map(({ uid }) => uid));
  const unknown = Object.keys(results).find((uid) => !uids.has(uid));
  if (unknown !== undefined) throw new Error(`result for unknown claim UID ${unknown}`);
  const skipped = uids.size - Object.keys(results).length;
  if (skipped > 0) throw new Error(`skipped ${skipped} ResourceClaims`);
  return results;
}
