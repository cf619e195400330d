import { setTimeout as sleep } from "node:timers/promises";
import { listenOn } from "../../program/listen.ts";
import type { Certificate } from "../../tls/certificate.ts";

/**
 * Largest body in bytes. The API server sends objects of up to about 3 MB, twice on update; controller-runtime has the
 * same limit.
 */
const LARGEST_BODY = 7 * 1024 * 1024;

/** How long requests in flight may take when the server closes, in ms. */
const DRAIN = 5000;

export interface HttpsServerOptions {
  /** TCP port on all addresses, from the setting PORT. 0 means any free port. */
  port: number;
  fetch: (request: Request) => Response | Promise<Response>;
  /** How long a replaced listener keeps closing connections after their next response before it stops, in ms. */
  retirement?: number;
}

/** An HTTPS server whose certificate can be replaced without downtime. */
export interface HttpsServer extends AsyncDisposable {
  /** Serves with this certificate from now on. Returns the port. */
  use(certificate: Certificate): Promise<number>;
}

type Listener = ReturnType<typeof Bun.serve>;

/**
 * Bun.serve ignores new TLS settings on reload (oven-sh/bun#43815), so a second listener shares the port. The first one
 * continues for a while with its certificate, which is still trusted, and closes each connection after its next
 * response. No request is cut off.
 */
export function createHttpsServer({ port, fetch, retirement = 30_000 }: HttpsServerOptions): HttpsServer {
  const disposed = new AbortController();
  const retiring = new Set<Promise<void>>();
  let current: Listener | undefined;

  async function retire(listener: Listener): Promise<void> {
    listener.reload({ fetch: async (request) => closingConnection(await fetch(request)) });
    await sleep(retirement, undefined, { signal: disposed.signal }).catch(() => {}); // rejects only when disposed
    await stop(listener);
  }

  return {
    async use({ cert, key }) {
      const before = current;
      if (!before) await assertFree(port);
      const options = { port: before?.port ?? port, reusePort: true, maxRequestBodySize: LARGEST_BODY };
      current = Bun.serve({ ...options, tls: { cert, key }, fetch });
      if (before) {
        const retired = retire(before).finally(() => retiring.delete(retired));
        retiring.add(retired);
      }
      return current.port ?? port;
    },
    async [Symbol.asyncDispose]() {
      disposed.abort();
      await Promise.all([...retiring, current && stop(current)]);
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

function closingConnection(response: Response): Response {
  response.headers.set("Connection", "close");
  return response;
}

/** Stops a listener. Bun also waits for connections that never sent a request: they are closed after {@link DRAIN}. */
async function stop(listener: Listener): Promise<void> {
  const limit = setTimeout(() => void listener.stop(true), DRAIN);
  await listener.stop();
  clearTimeout(limit);
}
