import { chmod, lstat } from "node:fs/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { serveGrpc } from "../../grpc/server.ts";
import { ConfigError } from "../../program/config_error.ts";
import { listenOn } from "../../program/http/listen.ts";
import { ignoreMissing } from "../../program/ignore_missing.ts";
import { PodResourcesLister } from "../../proto/gen/podresources/v1/api_pb.ts";
import type { ServerGpu } from "../gpus/gpu.ts";
import type { Lease } from "../leases/ledger.ts";
import { devicesOf, podsOf } from "./pods.ts";

export interface PodResourcesOptions {
  /** Path of the Unix socket. Its folder exists. */
  socket: string;
  /** The leases now. */
  leases: () => readonly Lease[];
  /** The GPUs now. */
  gpus: () => readonly ServerGpu[];
}

/**
 * Serves the pod resources API of the kubelet (KEP-606) for the pods that hold leases. They run elsewhere, but a program that asks which pods
 * use the GPUs of this machine need not know.
 *
 * @throws {ConfigError} if the socket cannot be created.
 */
export async function servePodResources({ socket, leases, gpus }: PodResourcesOptions): Promise<AsyncDisposable> {
  const existing = await ignoreMissing(lstat(socket));
  if (existing && !existing.isSocket()) {
    throw new ConfigError(`Cannot use podResources.socket="${socket}": it is not a socket`);
  }
  await using stack = new AsyncDisposableStack();
  const open = () =>
    serveGrpc({
      listen: { path: socket },
      routes: (router) =>
        router.service(PodResourcesLister, {
          list: () => ({ podResources: podsOf(leases()) }),
          getAllocatableResources() {
            const healthy = gpus().filter((gpu) => gpu.healthy);
            return { devices: [devicesOf(healthy.map(({ id }) => id))] };
          },
          get({ podNamespace, podName }) {
            const [podResources] = podsOf(leases()).filter(
              ({ namespace, name }) => namespace === podNamespace && name === podName,
            );
            if (podResources) return { podResources };
            throw new ConnectError(`Pod ${podNamespace}/${podName} holds no GPU of this server`, Code.NotFound);
          },
        }),
    });
  stack.use(await listenOn("podResources.socket", socket, open));
  await chmod(socket, 0o660); // until now, the umask lets nobody but the server's user write, which connect(2) needs
  const resources = stack.move();
  return { [Symbol.asyncDispose]: () => resources.disposeAsync() };
}
