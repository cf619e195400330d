import { rm } from "node:fs/promises";
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { type ConnectRouter, createContextValues } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { MAX_TIMEOUT } from "../program/timers.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import { ANONYMOUS, findRefusal, PEER, type Peer, readPeer } from "./peer.ts";

/** The path of a Unix socket (at most 107 bytes), or a TCP port (0 selects a free port), which always has TLS. */
export type ListenAddress =
  | { path: string }
  | {
      port: number;
      host?: string;
      tls: TlsIdentity;
      /** Whether clients without a certificate may connect. Their calls have the peer {@link ANONYMOUS}. */
      allowAnonymous?: boolean;
    };

export interface GrpcServer extends AsyncDisposable {
  /** The TCP port; 0 for a Unix socket. */
  readonly port: number;
  /** Uses other certificates for new connections. */
  useTls(tls: TlsIdentity): void;
  /** Closes the connections of these peers, and thereby ends their calls. */
  closeConnections(isClosed: (peer: Peer) => boolean): void;
}

export interface GrpcServerOptions {
  listen: ListenAddress;
  routes: (router: ConnectRouter) => void;
  /** How long disposal waits for running calls, in ms. */
  drain?: number;
  /** Called when a client is refused during the handshake, with the reason and the client's address. */
  onRefused?: (reason: string, address: string) => void;
  /** How long a connection without a certificate may have no call, in ms. */
  anonymousIdle?: number;
}

/** Largest request in bytes, also after decompression: 4 MiB, as in other gRPC servers. Connect's default is 4 GiB. */
const MAX_REQUEST = 4 * 1024 * 1024;

/** How long a client may take for the handshake, in ms. */
const HANDSHAKE_TIMEOUT = 10_000;

/**
 * Serves gRPC, gRPC-Web and Connect over HTTP/2. On a TCP port, clients need a certificate of one of the CAs. A request
 * of more than 4 MiB fails with ResourceExhausted. Disposal aborts the signals of all calls, waits for them up to `drain`
 * ms, and removes the socket.
 *
 * @throws the error of `listen`, such as EADDRINUSE.
 */
export async function serveGrpc(options: GrpcServerOptions): Promise<GrpcServer> {
  const { listen, routes, drain = 1000, onRefused, anonymousIdle = 10_000 } = options;
  const shutdown = new AbortController();
  const peers = new Map<ServerHttp2Session, Peer>();
  const adapter = connectNodeAdapter({
    routes,
    shutdownSignal: shutdown.signal,
    readMaxBytes: MAX_REQUEST,
    binaryOptions: { readUnknownFields: false }, // they would be kept, as objects that are much larger than what was sent
    maxTimeoutMs: MAX_TIMEOUT, // a deadline that does not fit into a timer would fail at once with DeadlineExceeded
    contextValues: (request) => {
      const { session } = (request as Http2ServerRequest).stream;
      return createContextValues().set(PEER, peers.get(session as ServerHttp2Session) ?? ANONYMOUS);
    },
  });
  const server = createHttp2Server(listen, (request, response) => {
    workAroundConnectNode(request, response);
    adapter(request, response);
  });
  server.on("session", (session: ServerHttp2Session) => {
    const refusal = findRefusal(session);
    if (refusal) {
      onRefused?.(refusal, session.socket.remoteAddress ?? "");
      session.destroy();
      return;
    }
    const peer = readPeer(session);
    if (peer === ANONYMOUS && !("path" in listen)) endWhenIdle(session, anonymousIdle);
    peers.set(session, peer);
    session.on("close", () => peers.delete(session));
    session.on("error", () => session.destroy()); // the peer disconnected; the adapter aborts its streams
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException, { remoteAddress = "" }: Socket) => {
    if (error.code !== "ECONNRESET") onRefused?.(error.message, remoteAddress); // not a probe of the port
  });
  if ("path" in listen) await rm(listen.path, { force: true }); // a stale file makes listen fail with EADDRINUSE
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen("path" in listen ? listen : { port: listen.port, host: listen.host }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  return {
    port: isTcp(address) ? address.port : 0,
    useTls(tls) {
      if ("setSecureContext" in server) server.setSecureContext({ ...tls });
    },
    closeConnections(isClosed) {
      for (const [session, peer] of peers) if (isClosed(peer)) session.destroy();
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      shutdown.abort(new DOMException("The server is shutting down", "AbortError"));
      for (const session of peers.keys()) session.close();
      const timer = setTimeout(() => {
        // Not sessions: they exist only after the client's first bytes, and stay open while the client does not read.
        for (const socket of sockets) socket.destroy();
      }, drain);
      await closed;
      clearTimeout(timer);
    },
  };
}

function createHttp2Server(
  listen: ListenAddress,
  onRequest: (request: Http2ServerRequest, response: Http2ServerResponse) => void,
): Http2Server | Http2SecureServer {
  if ("path" in listen) return createServer(onRequest);
  const options = {
    ...listen.tls,
    requestCert: true,
    rejectUnauthorized: listen.allowAnonymous !== true, // then findRefusal() checks
    minVersion: "TLSv1.3",
    handshakeTimeout: HANDSHAKE_TIMEOUT,
  } as const;
  return createSecureServer(options, onRequest);
}

/** Ends a session once it has had no call for `idle` ms: anybody can open one. */
function endWhenIdle(session: ServerHttp2Session, idle: number): void {
  let calls = 0;
  const wait = () => setTimeout(() => session.destroy(), idle).unref();
  let timer = wait();
  session.on("stream", (stream) => {
    calls += 1;
    clearTimeout(timer);
    stream.once("close", () => {
      calls -= 1;
      if (calls === 0 && !session.destroyed) timer = wait();
    });
  });
  session.once("close", () => clearTimeout(timer));
}

function isTcp(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === "object" && address !== null;
}

function workAroundConnectNode(request: Http2ServerRequest, response: Http2ServerResponse): void {
  // On Unix sockets, grpc-go and grpcio send the path of the socket as :authority. connect-node parses it as a URL and
  // throws.
  Object.defineProperty(request, "authority", { value: "localhost" });
  // connect-node waits only for "drain": without this, a peer that cancels during a blocked write leaks the handler.
  response.once("close", () => response.emit("drain"));
}
