/** An answer of HTTP/1.1. */
export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** A keep-alive connection over TLS that sends requests as they are: fetch would cost more than the servers that are measured. */
export interface Connection extends Disposable {
  readonly isOpen: boolean;
  /** One at a time. Rejects when the connection ends before the whole answer is there. */
  send(request: Uint8Array): Promise<Answer>;
}

export interface ConnectionOptions {
  port: number;
  /** What the server's certificate is signed by, in PEM. */
  ca: string;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const EMPTY = Buffer.alloc(0);

/** Connects to localhost. */
export async function connect({ port, ca }: ConnectionOptions): Promise<Connection> {
  let isOpen = true;
  let unsent: Uint8Array = EMPTY;
  let received = EMPTY;
  let waiting: PromiseWithResolvers<Answer> | undefined;
  const opened = Promise.withResolvers<void>();
  const end = (error?: Error | null) => {
    isOpen = false;
    const reason = error ?? new Error("Connection ended before the answer");
    opened.reject(reason);
    waiting?.reject(reason);
    waiting = undefined;
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
        const answer = readAnswer(received);
        if (!answer) return;
        received = EMPTY;
        const { resolve } = waiting ?? {};
        waiting = undefined;
        resolve?.(answer);
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
      waiting = Promise.withResolvers();
      const { promise } = waiting;
      if (!isOpen) end();
      unsent = request;
      flush();
      return promise;
    },
    [Symbol.dispose]: () => socket.terminate(),
  };
}

/** Undefined while a part is missing. Chunked answers are none of the servers' here. */
function readAnswer(received: Buffer): Answer | undefined {
  const end = received.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const head = received.toString("latin1", 0, end);
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
  const start = end + HEAD_END.length;
  if (received.length < start + length) return undefined;
  return { status: Number(head.slice(9, 12)), body: received.subarray(start, start + length) };
}
