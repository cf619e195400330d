import { connect, type TLSSocket } from "node:tls";
import { TEST_CA } from "../../../tls/testing.ts";
import type { Gate } from "../gate.ts";

/** A connection to a gate, by the client of node:tls. Disposal closes it. */
export interface Tunnel extends Disposable {
  readonly socket: TLSSocket;
  /** Resolves with all that was received once this is true of it. Rejects if the connection is closed before. */
  received(isComplete: (text: string) => boolean): Promise<string>;
  /** Resolves with all that was received when the connection is closed. */
  readonly closed: Promise<string>;
}

/** Connects to a gate, and sends this. */
export function openTunnel({ port }: Pick<Gate, "port">, sent: string): Tunnel {
  const socket = connect({ host: "127.0.0.1", port, ca: TEST_CA.cert, servername: "localhost" });
  let text = "";
  let changed = Promise.withResolvers<void>();
  let isClosed = false;
  const notify = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  socket.on("data", (bytes: Buffer) => {
    text += bytes.toString("latin1");
    notify();
  });
  const closed = Promise.withResolvers<string>();
  socket.on("error", () => {}); // it is closed then
  socket.on("close", () => {
    isClosed = true;
    closed.resolve(text);
    notify();
  });
  if (sent !== "") socket.write(sent, "latin1");
  return {
    socket,
    async received(isComplete) {
      while (!isComplete(text)) {
        if (isClosed) throw new Error(`The connection was closed after ${JSON.stringify(text)}`);
        await changed.promise;
      }
      return text;
    },
    closed: closed.promise,
    [Symbol.dispose]: () => void socket.destroy(),
  };
}
