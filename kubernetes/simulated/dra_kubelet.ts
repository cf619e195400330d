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
import { type PluginInfo, Registration } from "../../proto/gen/pluginregistration/v1/api_pb.ts";

export interface SimulatedDraKubeletOptions {
  /** The kubelet's plugins_registry; made if need be. */
  directory: string;
  /** Called with what each plugin tells of itself: what it throws is the reason to refuse it, and while it waits the kubelet hangs. */
  onInfo?: (info: PluginInfo) => void | Promise<void>;
}

interface ClaimId {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/**
 * The part of a kubelet that finds drivers (pluginmanager) and has claims prepared (cm/dra): the real wire format, and the real one's rules
 * where a driver sees them. Disposal is its death: sockets stay.
 */
export interface SimulatedDraKubelet extends AsyncDisposable {
  /** What the registered plugins tell, in the order of their registration: calls go to the last. */
  readonly plugins: Latest<readonly PluginInfo[]>;
  /** The answers by uid. */
  prepare(claims: readonly ClaimId[], signal?: AbortSignal): Promise<Record<string, NodePrepareResourceResponse>>;
  unprepare(claims: readonly ClaimId[], signal?: AbortSignal): Promise<Record<string, NodeUnprepareResourceResponse>>;
}

/** How long a plugin may take, in ms: for GetInfo, for NotifyRegistrationStatus, and for claims. */
const TIMEOUTS = { info: 1000, notify: 5000, claims: 45_000 };

/** How often the directory is looked at, in ms. */
const PERIOD = 10;

export async function startSimulatedDraKubelet(options: SimulatedDraKubeletOptions): Promise<SimulatedDraKubelet> {
  const { directory, onInfo } = options;
  await mkdir(directory, { recursive: true });
  const plugins = createLatest<readonly PluginInfo[]>([]);
  const registered = new Map<string, { info: PluginInfo; channel: GrpcChannel }>();
  const tried = new Set<string>();
  const registrations = new Set<Promise<void>>();
  const over = new AbortController();

  function publish(): void {
    plugins.set(Array.from(registered.values(), ({ info }) => info));
  }

  function deregister(socket: string): void {
    registered.get(socket)?.channel[Symbol.dispose]();
    if (registered.delete(socket)) publish();
  }

  async function register(socket: string): Promise<void> {
    const { signal } = over;
    using channel = connectUnix(join(directory, socket));
    const plugin = createClient(Registration, channel.transport);
    const info = await plugin.getInfo({}, { signal, timeoutMs: TIMEOUTS.info });
    const refusal = await Promise.try(() => validate(info)).then(() => "", String);
    if (refusal === "") registered.set(socket, { info, channel: connectUnix(info.endpoint) });
    try {
      const status = { pluginRegistered: refusal === "", error: refusal };
      await plugin.notifyRegistrationStatus(status, { signal, timeoutMs: TIMEOUTS.notify });
      if (refusal === "") publish();
    } catch {
      deregister(socket);
    }
  }

  async function validate(info: PluginInfo): Promise<void> {
    if (info.type !== "DRAPlugin") throw new Error(`no handler registered for plugin type: ${info.type}`);
    if (!info.supportedVersions.includes("v1.DRAPlugin")) throw new Error("none of services supported by the plugin");
    if (plugins.current?.some(({ endpoint }) => endpoint === info.endpoint)) {
      throw new Error(`endpoint ${info.endpoint} already registered`);
    }
    await onInfo?.(info);
  }

  async function reconcile(): Promise<void> {
    const sockets = (await readdir(directory).catch(() => [])).filter((name) => !name.startsWith("."));
    for (const socket of tried) {
      if (sockets.includes(socket)) continue;
      tried.delete(socket);
      deregister(socket);
    }
    for (const socket of sockets) {
      if (tried.has(socket)) continue;
      tried.add(socket);
      const registration = register(socket).catch(() => void tried.delete(socket)); // tried again
      registrations.add(registration);
      void registration.finally(() => registrations.delete(registration));
    }
  }

  const reconciling = (async () => {
    while (!over.signal.aborted) {
      await reconcile();
      await sleep(PERIOD, undefined, { signal: over.signal }).catch(() => {});
    }
  })();

  /** A driver's service, at the instance that registered last. */
  function driver() {
    const last = [...registered.values()].at(-1);
    if (!last) throw new Error("DRA driver is not registered");
    return createClient(DRAPlugin, last.channel.transport);
  }

  return {
    plugins,
    async prepare(claims, signal = over.signal) {
      const request = { claims: claims.map(({ namespace, name, uid }) => ({ namespace, name, uid })) };
      const options = { signal, timeoutMs: TIMEOUTS.claims };
      return complete(claims, (await driver().nodePrepareResources(request, options)).claims);
    },
    async unprepare(claims, signal = over.signal) {
      const request = { claims: claims.map(({ namespace, name, uid }) => ({ namespace, name, uid })) };
      const options = { signal, timeoutMs: TIMEOUTS.claims };
      return complete(claims, (await driver().nodeUnprepareResources(request, options)).claims);
    },
    async [Symbol.asyncDispose]() {
      over.abort();
      await reconciling;
      await Promise.all(registrations);
      for (const { channel } of registered.values()) channel[Symbol.dispose]();
    },
  };
}

/** The kubelet takes an answer only if it is about each claim asked for, and about no other. */
function complete<Answer>(claims: readonly ClaimId[], answers: Record<string, Answer>): Record<string, Answer> {
  const uids = new Set(claims.map(({ uid }) => uid));
  const unknown = Object.keys(answers).find((uid) => !uids.has(uid));
  if (unknown !== undefined) throw new Error(`result for unknown claim UID ${unknown}`);
  const skipped = uids.size - Object.keys(answers).length;
  if (skipped > 0) throw new Error(`skipped ${skipped} ResourceClaims`);
  return answers;
}
