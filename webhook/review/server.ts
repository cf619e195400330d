import { setTimeout as sleep } from "node:timers/promises";
import { ConfigError } from "../../program/config_error.ts";
import type { Certificate } from "../../tls/certificate.ts";

/** What the API server sends at most: an object of about 3 MB, twice on update (controller-runtime's limit too). */
const LARGEST_BODY = 7 * 1024 * 1024;

/** How long requests under way may take to end when the server closes, in ms. */
const DRAIN = 5000;

export interface HttpsServerOptions {
  /** TCP port on all addresses; 0 for any free one. */
  port: number;
  fetch: (request: Request) => Response | Promise<Response>;
  /** How long a replaced listener goes on asking its clients to connect anew before it closes, in ms. */
  retirement?: number;
}

/** An HTTPS server whose certificate can be replaced while it serves. */
export interface HttpsServer extends AsyncDisposable {
  /** Serves with this certificate from now on. Returns the port. */
  use(certificate: Certificate): Promise<number>;
}

type Listener = ReturnType<typeof Bun.serve>;

/**
 * Bun.serve ignores new TLS settings on reload (oven-sh/bun#43815), so a second listener shares the port. The first goes on for a
 * while, with a certificate that is trusted as before, and closes each connection after its next answer: no request is cut off.
 */
export function createHttpsServer({ port, fetch, retirement = 30_000 }: HttpsServerOptions): HttpsServer {
  const over = new AbortController();
  const retiring = new Set<Promise<void>>();
  let current: Listener | undefined;

  async function retire(listener: Listener): Promise<void> {
    listener.reload({ fetch: async (request) => closingConnection(await fetch(request)) });
    await sleep(retirement, undefined, { signal: over.signal }).catch(() => {}); // disposal ends it early
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
      over.abort();
      await Promise.all([...retiring, current && stop(current)]);
    },
  };
}

/** A shared port is never refused, so that another program's would be shared unnoticed. @throws {ConfigError} */
async function assertFree(port: number): Promise<void> {
  try {
    await Bun.serve({ port, fetch: () => new Response() }).stop(true);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    throw new ConfigError(`Cannot listen on port ${port}: it is in use`);
  }
}

function closingConnection(response: Response): Response {
  response.headers.set("Connection", "close");
  return response;
}

/** Bun waits for connections that never sent a request, too: past the limit it closes them. */
async function stop(listener: Listener): Promise<void> {
  const limit = setTimeout(() => void listener.stop(true), DRAIN);
  await listener.stop();
  clearTimeout(limit);
}
