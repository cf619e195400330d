import { rm } from "node:fs/promises";
import { createServer, type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

/** Where to listen: a unix socket's path (at most 107 bytes), or a TCP port (0 for any free one). */
export type ListenAddress = { path: string } | { port: number; host?: string };

export interface GrpcServer extends AsyncDisposable {
  /** The TCP port, 0 on a unix socket. */
  readonly port: number;
}

export interface GrpcServerOptions {
  listen: ListenAddress;
  routes: (router: ConnectRouter) => void;
  /** How long calls under way may take to end once the server closes, in ms. */
  drain?: number;
}

/**
 * Serves gRPC, gRPC-Web and Connect over HTTP/2 without TLS. Disposal aborts the streams' signals, lets calls end, and removes
 * the socket.
 */
export async function serveGrpc({ listen, routes, drain = 1000 }: GrpcServerOptions): Promise<GrpcServer> {
  const shutdown = new AbortController();
  const adapter = connectNodeAdapter({ routes, shutdownSignal: shutdown.signal });
  const server = createServer((request, response) => {
    mendForConnectNode(request, response);
    adapter(request, response);
  });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => session.destroy()); // the peer went away: its streams' signals are aborted by the adapter
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
      shutdown.abort(new DOMException("The server shuts down", "AbortError"));
      for (const session of sessions) session.close();
      const limit = setTimeout(() => {
        // Not the sessions: there is none before the client speaks, and it does not end while its peer reads nothing.
        for (const socket of sockets) socket.destroy();
      }, drain);
      await closed;
      clearTimeout(limit);
    },
  };
}

function isTcp(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === "object" && address !== null;
}

function mendForConnectNode(request: Http2ServerRequest, response: Http2ServerResponse): void {
  // Clients of unix sockets send the socket's path as :authority (grpc-go, grpcio); connect-node makes a URL of it and throws.
  Object.defineProperty(request, "authority", { value: "localhost" });
  // connect-node waits for "drain" only: without this, a peer that goes away while a write is blocked leaks the handler.
  response.once("close", () => response.emit("drain"));
}
