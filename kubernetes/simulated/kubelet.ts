import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectUnix, type GrpcChannel } from "../../grpc/client.ts";
import { serveGrpc } from "../../grpc/server.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import {
  type Device,
  DevicePlugin,
  type RegisterRequest,
  Registration,
} from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";

/** The state of one extended resource in the kubelet. */
export interface NodeResource {
  /** Name of the plugin's socket while its ListAndWatch stream is open. */
  readonly endpoint?: string;
  /** Number of devices in the last list. */
  readonly capacity: number;
  /** Number of healthy devices. */
  readonly allocatable: number;
  readonly devices: ReadonlyMap<string, { readonly healthy: boolean }>;
}

export interface SimulatedKubeletOptions {
  /** Created if it does not exist. All sockets in it are removed, as the kubelet does when it starts. */
  directory: string;
  resourceName: string;
  /**
   * Called for each Register call, before the kubelet dials the plugin. Register fails if it throws, and hangs while it
   * waits.
   */
  onRegister?: (request: RegisterRequest) => void | Promise<void>;
  /**
   * If set, the kubelet dials the plugin after Register, when this resolves. Otherwise it dials the plugin during
   * Register.
   */
  onRegistered?: (request: RegisterRequest) => Promise<void>;
  /** Called for each list that a plugin sends. */
  onList?: (devices: readonly Device[], endpoint: string) => void;
}

/** Timeout of calls to the plugin, in ms. The real kubelet waits forever in Allocate. */
const TIMEOUT = 10_000;

/**
 * The device manager of a kubelet for one resource. It uses the real wire format, and follows the rules that a plugin
 * can observe.
 */
export interface SimulatedKubelet extends AsyncDisposable {
  readonly resource: Latest<NodeResource>;
  /** Allocates free healthy devices with a call to the plugin, and holds them until `free`. Returns their ids. */
  allocate(count: number): Promise<string[]>;
  free(ids: readonly string[]): void;
  /** Ends the plugin's ListAndWatch stream. */
  endStream(): void;
  /** Calls Allocate with the given ids, one list per container. Returns the number of container responses. */
  callAllocate(containers: readonly (readonly string[])[]): Promise<number>;
}

/** Starts a kubelet that serves Registration on kubelet.sock. */
export async function startSimulatedKubelet(options: SimulatedKubeletOptions): Promise<SimulatedKubelet> {
  const { directory, resourceName, onRegister, onRegistered, onList } = options;
  await mkdir(directory, { recursive: true });
  for (const name of await readdir(directory))
    if (name.endsWith(".sock")) await rm(join(directory, name), { force: true });

  const resource = createLatest<NodeResource>({ capacity: 0, allocatable: 0, devices: new Map() });
  const ended = new AbortController();
  const held = new Set<string>();
  const streams = new Set<Promise<void>>();
  const connected = new Set<string>();
  let plugin: GrpcChannel | undefined;

  function setDevices(devices: ReadonlyMap<string, { healthy: boolean }>, endpoint?: string): void {
    const allocatable = [...devices.values()].filter(({ healthy }) => healthy).length;
    resource.set({ capacity: devices.size, allocatable, devices, ...(endpoint ? { endpoint } : {}) });
  }

  async function followDevices(channel: GrpcChannel, endpoint: string): Promise<void> {
    try {
      const lists = createClient(DevicePlugin, channel.transport).listAndWatch({}, { signal: ended.signal });
      for await (const { devices } of lists) {
        onList?.(devices, endpoint);
        setDevices(new Map(devices.map(({ ID, health }) => [ID, { healthy: health === "Healthy" }])), endpoint);
      }
    } catch {
      // The kubelet treats any end of the stream as the end of the plugin.
    }
    channel[Symbol.dispose]();
    connected.delete(endpoint);
    if (resource.current?.endpoint !== endpoint || ended.signal.aborted) return;
    setDevices(new Map([...resource.current.devices.keys()].map((id) => [id, { healthy: false }])));
  }

  async function register(request: RegisterRequest): Promise<void> {
    await onRegister?.(request);
    if (request.version !== "v1beta1")
      throw new ConnectError(`Unsupported version "${request.version}"`, Code.InvalidArgument);
    if (request.resourceName !== resourceName) {
      throw new ConnectError(`Unexpected resource "${request.resourceName}"`, Code.InvalidArgument);
    }
    if (connected.has(request.endpoint)) throw new ConnectError("device plugin already connected", Code.AlreadyExists);
    if (onRegistered)
      onRegistered(request).then(
        () => dial(request.endpoint),
        () => {},
      );
    else await dial(request.endpoint);
  }

  async function dial(endpoint: string): Promise<void> {
    const channel = connectUnix(join(directory, endpoint));
    try {
      await createClient(DevicePlugin, channel.transport).getDevicePluginOptions({}, { timeoutMs: TIMEOUT });
    } catch (error) {
      channel[Symbol.dispose]();
      throw error;
    }
    plugin = channel;
    connected.add(endpoint);
    const stream = followDevices(channel, endpoint);
    streams.add(stream);
    void stream.finally(() => streams.delete(stream));
  }

  const server = await serveGrpc({
    listen: { path: join(directory, "kubelet.sock") },
    routes: (router) =>
      router.service(Registration, {
        async register(request) {
          await register(request);
          return {};
        },
      }),
  });

  async function callAllocate(containers: readonly (readonly string[])[]): Promise<number> {
    if (!plugin || !resource.current?.endpoint) throw new Error("No plugin is registered");
    const containerRequests = containers.map((ids) => ({ devicesIds: [...ids] }));
    const { containerResponses } = await createClient(DevicePlugin, plugin.transport).allocate(
      { containerRequests },
      { timeoutMs: TIMEOUT },
    );
    return containerResponses.length;
  }

  return {
    resource,
    endStream: () => plugin?.[Symbol.dispose](),
    callAllocate,
    async allocate(count) {
      const free = [...(resource.current?.devices ?? [])].filter(([id, { healthy }]) => healthy && !held.has(id));
      if (free.length < count) throw new Error(`Insufficient ${resourceName}: ${free.length} free, ${count} requested`);
      const ids = free.slice(0, count).map(([id]) => id);
      await callAllocate([ids]);
      for (const id of ids) held.add(id);
      return ids;
    },
    free(ids) {
      for (const id of ids) held.delete(id);
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await Promise.all(streams);
      await server[Symbol.asyncDispose]();
    },
  };
}
