import { connect } from "node:net";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

/** A gRPC transport with its connection. Disposal closes the connection. */
export interface GrpcChannel extends Disposable {
  readonly transport: Transport;
}

/**
 * Largest message in bytes that a channel accepts, also after decompression; a larger one fails with ResourceExhausted.
 * Connect's default is 4 GiB. Over TCP 4 MiB, as in other gRPC clients: 10,000 GPUs. On a node 16 MiB, as between the
 * kubelet and its plugins (k8s.io/kubernetes/pkg/kubelet/cm/devicemanager): a list of 100,000 units has 7 MB.
 */
const MAX_MESSAGE = { tcp: 4 * 1024 * 1024, unix: 16 * 1024 * 1024 };

/** Creates a channel to a server on a Unix socket. It connects on the first call. */
export function connectUnix(path: string): GrpcChannel {
  return createChannel("http://localhost", MAX_MESSAGE.unix, { createConnection: () => connect(path) });
}

/** Creates a channel to `host:port`, without TLS. It connects on the first call, and reconnects if necessary. */
export function connectTcp(address: string): GrpcChannel {
  return createChannel(`http://${address}`, MAX_MESSAGE.tcp, {});
}

function createChannel(
  baseUrl: string,
  readMaxBytes: number,
  options: ConstructorParameters<typeof Http2SessionManager>[2] & {},
): GrpcChannel {
  const sessionManager = new Http2SessionManager(baseUrl, {}, options);
  return {
    transport: createGrpcTransport({ baseUrl, sessionManager, readMaxBytes }),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}
