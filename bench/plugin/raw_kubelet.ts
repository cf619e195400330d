import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../../grpc/client.ts";
import { serveGrpc } from "../../grpc/server.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import { DevicePlugin, Registration } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";

/** A device list as received, not decoded: decoding 100,000 devices would take longer than what is measured. */
export interface RawList {
  /** Size of the message, in bytes. */
  readonly bytes: number;
  /** When the last byte arrived, as performance.now(). */
  readonly at: number;
}

/** A kubelet's connection to a plugin. */
export interface RawPlugin extends Disposable {
  readonly lists: Latest<RawList>;
  /** Calls Allocate for one container. */
  allocate(ids: readonly string[]): Promise<void>;
}

/** An empty length-prefixed message of gRPC. */
const EMPTY_MESSAGE = Buffer.alloc(5);

/** Dials a plugin's socket and calls ListAndWatch. */
export function dialPlugin(path: string): RawPlugin {
  const lists = createLatest<RawList>();
  const session = connectHttp2("http://localhost", { createConnection: () => connect(path) });
  const stream = session.request({
    ":method": "POST",
    ":path": `/${DevicePlugin.typeName}/ListAndWatch`,
    "content-type": "application/grpc",
    te: "trailers",
  });
  let head = Buffer.alloc(0);
  let missing = 0;
  stream.on("data", (chunk: Buffer) => {
    for (let rest = chunk; ; ) {
      const header = 5 - head.length;
      head = Buffer.concat([head, rest.subarray(0, header)]);
      if (head.length < 5) return;
      if (header > 0) missing = head.readUInt32BE(1);
      rest = rest.subarray(header);
      const consumed = Math.min(missing, rest.length);
      missing -= consumed;
      rest = rest.subarray(consumed);
      if (missing > 0) return;
      lists.set({ bytes: head.readUInt32BE(1), at: performance.now() });
      head = Buffer.alloc(0);
      if (rest.length === 0) return;
    }
  });
  for (const emitter of [stream, session]) emitter.on("error", () => {}); // the plugin has ended
  stream.end(EMPTY_MESSAGE);
  const channel = connectUnix(path);
  const client = createClient(DevicePlugin, channel.transport);
  return {
    lists,
    async allocate(ids) {
      await client.allocate({ containerRequests: [{ devicesIds: [...ids] }] }, { timeoutMs: 10_000 });
    },
    [Symbol.dispose]: () => {
      session.destroy();
      channel[Symbol.dispose]();
    },
  };
}

/** Starts a kubelet that dials the first plugin that registers. */
export async function startRawKubelet(directory: string): Promise<{ plugin: Promise<RawPlugin> } & AsyncDisposable> {
  const plugin = Promise.withResolvers<RawPlugin>();
  const server = await serveGrpc({
    listen: { path: join(directory, "kubelet.sock") },
    routes: (router) =>
      router.service(Registration, {
        register({ endpoint }) {
          plugin.resolve(dialPlugin(join(directory, endpoint)));
          return {};
        },
      }),
  });
  return { plugin: plugin.promise, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
