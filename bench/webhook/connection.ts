/** An HTTP/1.1 response. */
export interface HttpResponse {
  readonly status: number;
  readonly body: Buffer;
}

/** A keep-alive connection over TLS that sends raw requests: fetch would use more CPU than the measured servers. */
export interface Connection extends Disposable {
  readonly isOpen: boolean;
  /** Sends a request, one at a time. Rejects if the connection ends before the complete response. */
  send(request: Uint8Array): Promise<HttpResponse>;
}

export interface ConnectionOptions {
  port: number;
  /** The CA certificate that signed the server's certificate, in PEM. */
  ca: string;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const EMPTY = Buffer.alloc(0);

/** Connects to localhost. */
export async function connect({ port, ca }: ConnectionOptions): Promise<Connection> {
  let isOpen = true;
  let unsent: Uint8Array = EMPTY;
  let received = EMPTY;
  let pending: PromiseWithResolvers<HttpResponse> | undefined;
  const opened = Promise.withResolvers<void>();
  const end = (error?: Error | null) => {
    isOpen = false;
    const reason = error ?? new Error("Connection ended before the response");
    opened.reject(reason);
    pending?.reject(reason);
    pending = undefined;
  };
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    tls: { ca, serverName: "localhost" },
    socket: {
      handshake: (_, isTrusted, error) => (isTrusted ? opened.resolve() : end(error)),
      drain: flush,
      data(_, chunk) {
        received = received.length === 0 ? Buffer.from(chunk) : Buffer.concat([received, chunk]);
        const response = parseResponse(received);
        if (!response) return;
        received = EMPTY;
        const { resolve } = pending ?? {};
        pending = undefined;
        resolve?.(response);
      },
      end: () => end(),
      close: (_, error) => end(error),
      error: (_, error) => end(error),
    },
  });
  await opened.promise;

  function flush(): void {
    if (unsent.length > 0) unsent = unsent.subarray(Math.max(0, socket.write(unsent)));
  }

  return {
    get isOpen() {
      return isOpen;
    },
    send(request) {
      pending = Promise.withResolvers();
      const { promise } = pending;
      if (!isOpen) end();
      unsent = request;
      flush();
      return promise;
    },
    [Symbol.dispose]: () => socket.terminate(),
  };
}

/** Parses a response. Returns undefined while it is incomplete. Supports no chunked encoding: the servers use none. */
function parseResponse(received: Buffer): HttpResponse | undefined {
  const end = received.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const head = received.toString("latin1", 0, end);
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
  const start = end + HEAD_END.length;
  if (received.length < start + length) return undefined;
  return { status: Number(head.slice(9, 12)), body: received.subarray(start, start + length) };
}
