import { connect } from "node:net";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

/** A gRPC transport and the connection below it, which disposal closes. */
export interface GrpcChannel extends Disposable {
  readonly transport: Transport;
}

/** A channel to a server on a unix socket. */
export function connectUnix(path: string): GrpcChannel {
  return createChannel("http://localhost", { createConnection: () => connect(path) });
}

/** A channel without TLS to `host:port`. */
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
