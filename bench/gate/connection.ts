import { formatConnect } from "../../pool/gate/request.ts";
import { CONNECTED } from "../../server/gate/connect_request.ts";
import { LEASE } from "./transfer.ts";

/** Where the data plane is reached. */
export interface Target {
  readonly port: number;
  /** The CA of the port's certificate. Undefined: without TLS. */
  readonly ca?: string;
  /** Whether the port is that of a gate. */
  readonly isGate?: boolean;
}

export interface Connection extends Disposable {
  /** Sends bytes, and resolves when so many bytes have been received. */
  exchange(bytes: Buffer, answer: number): Promise<void>;
}

/** Connects to the data plane in this mode: see echo_process.ts. */
export async function connect({ port, ca, isGate }: Target, mode: string): Promise<Connection> {
  let missing = 0;
  let complete = Promise.withResolvers<void>();
  let pending: Buffer = Buffer.alloc(0);
  const ready = Promise.withResolvers<void>();
  function flush(socket: Bun.Socket): void {
    pending = pending.subarray(Math.max(0, socket.write(pending)));
  }
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    ...(ca === undefined ? {} : { tls: { ca, serverName: "localhost" } }),
    socket: {
      open: () => {
        if (ca === undefined) ready.resolve();
      },
      handshake: () => ready.resolve(),
      data(_, bytes) {
        missing -= bytes.length;
        if (missing <= 0) complete.resolve();
      },
      drain: (socket) => {
        if (pending.length > 0) flush(socket);
      },
      close: () => complete.reject(new Error("The connection was closed")),
    },
  });
  socket.setNoDelay(true);
  function exchange(bytes: Buffer, answer: number): Promise<void> {
    missing = answer;
    complete = Promise.withResolvers();
    pending = bytes;
    flush(socket);
    return complete.promise;
  }
  await ready.promise;
  if (isGate) {
    await exchange(Buffer.from(formatConnect(LEASE.id, LEASE.secret)), CONNECTED.length);
  }
  socket.write(mode);
  return { exchange, [Symbol.dispose]: () => void socket.end() };
}
