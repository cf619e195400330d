import type { Certificate } from "./certificate.ts";

/** What the API server sends at most: an object of about 3 MB, twice on update (controller-runtime's limit too). */
const LARGEST_BODY = 7 * 1024 * 1024;

/** How long requests under way may take to end when a listener closes, in ms. */
const DRAIN = 5000;

export interface HttpsServerOptions {
  /** TCP port on all addresses; 0 for any free one. */
  port: number;
  fetch: (request: Request) => Response | Promise<Response>;
}

/** An HTTPS server whose certificate can be replaced while it serves. */
export interface HttpsServer extends AsyncDisposable {
  /** Serves with this certificate from now on. Returns the port. */
  use(certificate: Certificate): Promise<number>;
}

export function createHttpsServer({ port, fetch }: HttpsServerOptions): HttpsServer {
  let current: ReturnType<typeof Bun.serve> | undefined;
  return {
    async use({ cert, key }) {
      // Bun.serve ignores new TLS settings on reload (oven-sh/bun#43815): a second listener takes the port over.
      const before = current;
      current = Bun.serve({
        port: before?.port ?? port,
        reusePort: true,
        maxRequestBodySize: LARGEST_BODY,
        tls: { cert, key },
        fetch,
      });
      await stop(before);
      return current.port ?? port;
    },
    [Symbol.asyncDispose]: () => stop(current),
  };
}

/** Bun waits for connections that never sent a request, too: past the limit it closes them. */
async function stop(server: ReturnType<typeof Bun.serve> | undefined): Promise<void> {
  if (!server) return;
  const limit = setTimeout(() => void server.stop(true), DRAIN);
  await server.stop();
  clearTimeout(limit);
}
