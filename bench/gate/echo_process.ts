/*
 * Stands in for a data plane. The first byte of a connection says what it does with the others: "e" sends them back, "u" answers with one
 * byte for each TRANSFER bytes, and "d" sends as many bytes for each one. With USE_TLS, the connections are encrypted.
 */
import { readFile } from "node:fs/promises";
import { TRANSFER } from "./transfer.ts";

interface State {
  mode: string;
  received: number;
  /** Bytes to send. */
  due: number;
}

const chunk = Buffer.alloc(256 * 1024);

function send(socket: Bun.Socket<State>): void {
  while (socket.data.due > 0) {
    const written = socket.write(chunk.subarray(0, socket.data.due));
    if (written <= 0) return;
    socket.data.due -= written;
  }
}

const { USE_TLS, TLS_CERT_FILE = "", TLS_KEY_FILE = "" } = process.env;
const tls = { cert: await readFile(TLS_CERT_FILE, "utf8"), key: await readFile(TLS_KEY_FILE, "utf8") };
const listener = Bun.listen<State>({
  hostname: "127.0.0.1",
  port: 0,
  ...(USE_TLS ? { tls } : {}),
  socket: {
    open(socket) {
      socket.data = { mode: "", received: 0, due: 0 };
    },
    data(socket, bytes) {
      const state = socket.data;
      let rest = bytes;
      if (state.mode === "") {
        state.mode = String.fromCharCode(bytes[0] ?? 0);
        rest = bytes.subarray(1);
      }
      if (state.mode === "e") socket.write(rest);
      if (state.mode === "d") {
        state.due += rest.length * TRANSFER;
        send(socket);
      }
      if (state.mode === "u") {
        state.received += rest.length;
        for (; state.received >= TRANSFER; state.received -= TRANSFER) socket.write("x");
      }
    },
    drain: send,
  },
});
process.on("SIGTERM", () => process.exit(0));
console.log(JSON.stringify({ message: "Serving", port: listener.port }));
