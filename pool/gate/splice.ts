/** One end of a splice. Handlers of its socket call it. */
export interface End {
  /** Bytes have arrived. */
  data(bytes: Buffer): void;
  /** The socket can take bytes again. */
  drain(): void;
  /** The peer sends no more bytes. */
  end(): void;
  /** The socket is closed. */
  close(): void;
}

/** What a splice needs of a socket. */
export type SplicedSocket = Pick<Bun.Socket<unknown>, "write" | "pause" | "resume" | "shutdown" | "end">;

/**
 * Copies bytes between two sockets, which allow half-open connections. A socket is read only while the other one takes what was read, so that
 * a slow reader holds no more than one read in memory. The end of one direction is passed on, and the other one goes on.
 */
export function splice(a: SplicedSocket, b: SplicedSocket): readonly [End, End] {
  const [toA, toB] = [createDirection(b, a), createDirection(a, b)];
  return [
    { data: toB.pass, drain: toA.flush, end: toB.finish, close: toB.abandon },
    { data: toA.pass, drain: toB.flush, end: toA.finish, close: toA.abandon },
  ];
}

function createDirection(from: SplicedSocket, to: SplicedSocket) {
  /** What the socket did not take. */
  const pending: Buffer[] = [];
  /** What to do when it has taken all. */
  let atEnd: "shutdown" | "end" | undefined;

  function settle(): void {
    if (pending.length > 0) return;
    if (atEnd === "end") to.end();
    else if (atEnd === "shutdown") to.shutdown();
  }
  return {
    pass(bytes: Buffer): void {
      const written = pending.length === 0 ? Math.max(0, to.write(bytes)) : 0; // -1: it is closed
      if (written === bytes.length) return;
      pending.push(bytes.subarray(written));
      from.pause();
    },
    flush(): void {
      if (pending.length === 0) return;
      while (pending[0]) {
        const bytes = pending[0];
        const written = Math.max(0, to.write(bytes));
        if (written < bytes.length) {
          pending[0] = bytes.subarray(written);
          return;
        }
        pending.shift();
      }
      if (atEnd === undefined) from.resume();
      settle();
    },
    finish(): void {
      atEnd ??= "shutdown";
      settle();
    },
    abandon(): void {
      atEnd = "end";
      settle();
    },
  };
}
