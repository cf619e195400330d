import { setTimeout as sleep } from "node:timers/promises";
import { listenOn } from "../../program/http/listen.ts";
import type { Certificate } from "../../tls/certificate.ts";

/**
 * Largest body in bytes. The API server sends objects of up to about 3 MB, twice on update; controller-runtime has the
 * same limit.
 */
const LARGEST_BODY = 7 * 1024 * 1024;

/**
 * How long the API server keeps an idle connection, in seconds: IdleConnTimeout of its transport
 * (k8s.io/apimachinery/pkg/util/net). It reports a POST that meets the end of a connection as failed, so it has to be
 * the one that ends idle connections.
 */
const API_SERVER_IDLE = 90;

/** How long the server keeps an idle connection, in seconds. Bun allows up to 255, and ends it up to 4 s early. */
const IDLE = API_SERVER_IDLE + 30;

/** How long requests in flight may take when the server closes, in ms. */
const DRAIN = 5000;

export interface HttpsServerOptions {
  /** TCP port on all addresses, from the setting PORT. 0 means any free port. */
  port: number;
  fetch: (request: Request) => Response | Promise<Response>;
  /** How long an idle connection is kept, in seconds. */
  idleTimeout?: number;
  /** How long a replaced listener keeps closing connections after their next response before it stops, in ms. */
  retirement?: number;
  /** How long the server does the same when it is disposed, in ms. */
  farewell?: number;
}

/** An HTTPS server whose certificate can be replaced without downtime. */
export interface HttpsServer extends AsyncDisposable {
  /** Serves with this certificate from now on. Returns the port. */
  use(certificate: Certificate): Promise<number>;
}

interface Listener {
  readonly port: number;
  /** Closes each connection after its next response. */
  closeConnections(): void;
  stop(): Promise<void>;
}

/**
 * Bun.serve ignores new TLS settings on reload (oven-sh/bun#43815), so a second listener shares the port. The first one
 * continues for a while with its certificate, which is still trusted, and closes each connection after its next
 * response. It stops when the API server has no idle connection to it any more. No request is cut off.
 */
export function createHttpsServer(options: HttpsServerOptions): HttpsServer {
  const { port, fetch, idleTimeout = IDLE, retirement = IDLE * 1000, farewell = 1000 } = options;
  const disposed = new AbortController();
  const retiring = new Set<Promise<void>>();
  let current: Listener | undefined;

  async function retire(listener: Listener): Promise<void> {
    listener.closeConnections();
    await sleep(retirement, undefined, { signal: disposed.signal }).catch(() => {}); // rejects only when disposed
    await listener.stop();
  }

  return {
    async use({ cert, key }) {
      const before = current;
      if (!before) await assertFree(port);
      current = listen({ port: before?.port ?? port, idleTimeout, tls: { cert, key } }, fetch);
      if (before) {
        const retired = retire(before).finally(() => retiring.delete(retired));
        retiring.add(retired);
      }
      return current.port;
    },
    async [Symbol.asyncDispose]() {
      if (current) {
        current.closeConnections();
        await sleep(farewell);
      }
      disposed.abort();
      await Promise.all([...retiring, current?.stop()]);
    },
  };
}

function listen(
  options: { port: number; idleTimeout: number; tls: Bun.TLSOptions },
  fetch: HttpsServerOptions["fetch"],
): Listener {
  let isClosing = false;
  const server = Bun.serve({
    ...options,
    reusePort: true,
    maxRequestBodySize: LARGEST_BODY,
    async fetch(request) {
      const response = await fetch(request);
      if (isClosing) response.headers.set("Connection", "close"); // also for requests that arrived before
      return response;
    },
  });
  return {
    port: server.port ?? options.port,
    closeConnections() {
      isClosing = true;
    },
    /** Bun also waits for connections that never sent a request: they are closed after {@link DRAIN}. */
    async stop() {
      const limit = setTimeout(() => void server.stop(true), DRAIN);
      await server.stop();
      clearTimeout(limit);
    },
  };
}

/**
 * Detects a port that another program uses: listening on a shared port never fails.
 *
 * @throws {ConfigError} if the port is in use, or cannot be opened.
 */
async function assertFree(port: number): Promise<void> {
  await listenOn("PORT", port, () => Bun.serve({ port, fetch: () => new Response() }).stop(true));
}
