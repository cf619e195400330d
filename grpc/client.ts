import { connect } from "node:net";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

/** A gRPC transport with its connection. Disposal closes the connection. */
export interface GrpcChannel extends Disposable {
  readonly transport: Transport;
}

/** Creates a channel to a server on a Unix socket. It connects on the first call. */
export function connectUnix(path: string): GrpcChannel {
  return createChannel("http://localhost", { createConnection: () => connect(path) });
}

/** Creates a channel to `host:port`, without TLS. It connects on the first call, and reconnects if necessary. */
export function connectTcp(address: string): GrpcChannel {
  return createChannel(`http://${address}`, {});
}

function createChannel(
  baseUrl: string,
  options: ConstructorParameters<typeof Http2SessionManager>[2] & {},
): GrpcChannel {
  const sessionManager = new Http2SessionManager(baseUrl, {}, options);
  return {
    transport: createGrpcTransport({ baseUrl, sessionManager }),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}
