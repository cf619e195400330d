import { rm } from "node:fs/promises";
import { createServer, type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { MAX_TIMEOUT } from "../program/timers.ts";

/** The path of a Unix socket (at most 107 bytes), or a TCP port (0 selects a free port). */
export type ListenAddress = { path: string } | { port: number; host?: string };

export interface GrpcServer extends AsyncDisposable {
  /** The TCP port; 0 for a Unix socket. */
  readonly port: number;
}

export interface GrpcServerOptions {
  listen: ListenAddress;
  routes: (router: ConnectRouter) => void;
  /** How long disposal waits for running calls, in ms. */
  drain?: number;
}

/** Largest request in bytes, also after decompression: 4 MiB, as in other gRPC servers. Connect's default is 4 GiB. */
const MAX_REQUEST = 4 * 1024 * 1024;

/**
 * Serves gRPC, gRPC-Web and Connect over HTTP/2 without TLS. A request of more than 4 MiB fails with ResourceExhausted.
 * Disposal aborts the signals of all calls, waits for them up to `drain` ms, and removes the socket.
 *
 * @throws the error of `listen`, such as EADDRINUSE.
 */
export async function serveGrpc({ listen, routes, drain = 1000 }: GrpcServerOptions): Promise<GrpcServer> {
  const shutdown = new AbortController();
  const adapter = connectNodeAdapter({
    routes,
    shutdownSignal: shutdown.signal,
    readMaxBytes: MAX_REQUEST,
    // A call whose deadline does not fit into a timer would fail immediately with DeadlineExceeded.
    maxTimeoutMs: MAX_TIMEOUT,
  });
  const server = createServer((request, response) => {
    workAroundConnectNode(request, response);
    adapter(request, response);
  });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => session.destroy()); // the peer disconnected; the adapter aborts its streams
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  if ("path" in listen) await rm(listen.path, { force: true }); // a stale file makes listen fail with EADDRINUSE
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(listen, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  return {
    port: isTcp(address) ? address.port : 0,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      shutdown.abort(new DOMException("The server is shutting down", "AbortError"));
      for (const session of sessions) session.close();
      const timer = setTimeout(() => {
        // Not sessions: they exist only after the client's first bytes, and stay open while the client does not read.
        for (const socket of sockets) socket.destroy();
      }, drain);
      await closed;
      clearTimeout(timer);
    },
  };
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
