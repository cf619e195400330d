import { splitAddress } from "../../pool/address.ts";
import { createHeadReader } from "../../pool/gate/head_reader.ts";
import { formatConnect } from "../../pool/gate/request.ts";
import type { End } from "../../pool/gate/splice.ts";
import { messageOf } from "../../program/log/log.ts";
import { escapeControls, shorten } from "../../program/text/quote.ts";
import type { ProvenLease } from "./lease_slots.ts";

/** How long a connection may take, in ms: longer than a server waits for a data-plane process. */
const TIMEOUT = 40_000;

/** Time without a byte after which the connection to a gate is probed, in ms: the server's machine may be gone. */
const KEEP_ALIVE = 30_000;

/**
 * Connects to the process of a lease.
 *
 * @param closed ends the attempt.
 * @param join called with the connected socket. Returns the end that the socket's events go to.
 * @throws {Error} names the server, and says why there is no connection.
 */
export async function connectToGate(
  lease: ProvenLease,
  closed: AbortSignal,
  join: (socket: Bun.Socket) => End,
): Promise<void> {
  closed.throwIfAborted();
  const { address, ca, leaseId, secret, gatePort: port } = lease;
  if (port === undefined) throw new Error(`${address}: The server forwards no calls`);
  const { host } = splitAddress(address);
  const joined = Promise.withResolvers<void>();
  const fail = (reason: string) =>
    joined.reject(new Error(`${address}, gate ${port}: ${shorten(escapeControls(reason))}`));
  const head = createHeadReader();
  let end: End | undefined;

  function readAnswer(socket: Bun.Socket, bytes: Buffer): void {
    const answer = head.read(bytes);
    if (head.isTooLong) fail("the answer is not one of a gate");
    else if (answer?.head.startsWith("HTTP/1.1 200 ")) {
      end = join(socket);
      if (answer.rest.length > 0) end.data(answer.rest);
      joined.resolve();
    } else if (answer) fail(answer.rest.toString().trim() || answer.head);
  }
  const timer = setTimeout(() => fail("no answer"), TIMEOUT);
  const cancel = () => fail("the connection is not needed any more");
  closed.addEventListener("abort", cancel);
  const connecting = Bun.connect({
    hostname: host,
    port,
    allowHalfOpen: true,
    tls: { ca, serverName: host },
    socket: {
      handshake(socket, isAuthorized, error) {
        socket.setNoDelay(true);
        socket.setKeepAlive(true, KEEP_ALIVE);
        if (isAuthorized) socket.write(formatConnect(leaseId, secret));
        else fail(error?.message ?? "the certificate is not one of the server");
      },
      data: (socket, bytes) => (end ? end.data(bytes) : readAnswer(socket, bytes)),
      drain: () => end?.drain(),
      end: () => (end ? end.end() : fail("the connection was closed")),
      close: () => (end ? end.close() : fail("the connection was closed")),
      error: () => {}, // it is closed then
    },
  });
  connecting.catch((error) => fail(messageOf(error)));
  try {
    await joined.promise;
  } catch (error) {
    connecting.then((socket) => socket.terminate()).catch(() => {}); // it has failed
    throw error;
  } finally {
    clearTimeout(timer);
    closed.removeEventListener("abort", cancel);
  }
}
