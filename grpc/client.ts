import { connect } from "node:net";
import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { TlsIdentity } from "../tls/key_pair.ts";

/** A gRPC transport with its connection. Disposal closes the connection. */
export interface GrpcChannel extends Disposable {
  readonly transport: Transport;
}

/**
 * Largest message in bytes that a channel accepts, also after decompression; a larger one fails with ResourceExhausted.
 * Connect's default is 4 GiB. Over TCP 2 MiB, 16,384 GPUs with 128 bytes each: an object of two bytes can take more than a
 * hundred once it is decoded. On a node 16 MiB, as between the
 * kubelet and its plugins (k8s.io/kubernetes/pkg/kubelet/cm/devicemanager): a list of 100,000 units has 7 MB.
 */
const MAX_MESSAGE = { tcp: 2 * 1024 * 1024, unix: 16 * 1024 * 1024 };

/**
 * How a connection over TCP is found dead, in ms: after `pingIntervalMs` without data, a running call and the next one first send a ping, and without an answer within
 * `pingTimeoutMs` the channel connects again. Without it, all calls on a connection that a firewall or a failed network has dropped
 * would time out for a quarter of an hour. Both together are less than the five seconds that callers wait.
 */
const KEEPALIVE = { pingIntervalMs: 2500, pingTimeoutMs: 2000 };

/** Creates a channel to a server on a Unix socket. It connects on the first call. */
export function connectUnix(path: string): GrpcChannel {
  return createChannel("http://localhost", MAX_MESSAGE.unix, {}, { createConnection: () => connect(path) });
}

/**
 * Creates a channel to `host:port`. The server's certificate must name the host. The channel connects on the first
 * call, and reconnects if necessary.
 *
 * @param tls the CAs of the server, and the client's certificate if it has one.
 * @param keepalive changes {@link KEEPALIVE}.
 */
export function connectTls(
  address: string,
  tls: TlsIdentity | Pick<TlsIdentity, "ca">,
  keepalive: Partial<typeof KEEPALIVE> = {},
): GrpcChannel {
  const options = { ...tls, minVersion: "TLSv1.3" } as const;
  return createChannel(`https://${address}`, MAX_MESSAGE.tcp, { ...KEEPALIVE, ...keepalive }, options, [explainClosed]);
}

/**
 * Explains a connection that the server closed: with TLS 1.3, a client learns in no other way that the server refuses its
 * certificate.
 */
const explainClosed: Interceptor = (next) => async (request) => {
  const explain = (error: unknown): never => {
    const { code } = ConnectError.from(error);
    if (code !== Code.Canceled || request.signal.aborted) throw error;
    const reason = "The server closed the connection: it has ended, or it may not accept the client's certificate";
    throw new ConnectError(reason, Code.Unavailable, undefined, undefined, error);
  };
  const response = await next(request).catch(explain);
  return response.stream ? { ...response, message: explainStream(response.message, explain) } : response;
};

async function* explainStream<T>(messages: AsyncIterable<T>, explain: (error: unknown) => never): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (error) {
    explain(error);
  }
}

function createChannel(
  baseUrl: string,
  readMaxBytes: number,
  keepalive: Partial<typeof KEEPALIVE>,
  options: ConstructorParameters<typeof Http2SessionManager>[2] & {},
  interceptors: Interceptor[] = [],
): GrpcChannel {
  const sessionManager = new Http2SessionManager(baseUrl, keepalive, options);
  return {
    // Unknown fields would be kept, as objects that are much larger than what was sent.
    transport: createGrpcTransport({
      baseUrl,
      sessionManager,
      readMaxBytes,
      interceptors,
      binaryOptions: { readUnknownFields: false },
    }),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}
