import { type End, splice } from "../../pool/gate/splice.ts";
import { ConfigError } from "../../program/config_error.ts";
import type { Environment } from "../../program/environment.ts";
import { listenOn } from "../../program/http/listen.ts";
import { messageOf } from "../../program/log/log.ts";
import { connectToGate } from "./gate_connection.ts";
import { findSlots, type LeaseSlot } from "./lease_slots.ts";

export interface ForwardOptions {
  environment: Environment;
  /** TCP port at 127.0.0.1; 0 selects a free port. */
  port: number;
  /** Called with why a connection has failed. */
  print: (message: string) => void;
}

/** A port at 127.0.0.1 that leads to the data-plane process of a lease. Disposal closes it and its connections. */
export interface Forward extends Disposable {
  readonly port: number;
}

/** A connection of a program of this container. */
interface Local {
  readonly socket: Bun.Socket<Local | undefined>;
  /** What has arrived before it was connected. */
  early: Buffer[];
  end?: End;
  readonly closed: AbortController;
}

/**
 * Forwards the connections to a local port to the gate of the container's lease. Each connection reads anew what proves the lease, and asks the
 * server for its gate: a server that was restarted needs no restart of this.
 *
 * @throws {ConfigError} if the driver has given the container no lease, or leases of several servers, or the port is in use.
 */
export async function forward({ environment, port, print }: ForwardOptions): Promise<Forward> {
  const [slot, ...others] = (await findSlots(environment)) as [LeaseSlot, ...LeaseSlot[]];
  if (others.length > 0) {
    throw new ConfigError(
      `The driver has given this container ${others.length + 1} leases: expected one, of one server`,
    );
  }
  const locals = new Set<Local>();

  function open(socket: Bun.Socket<Local | undefined>): void {
    const local: Local = { socket, early: [], closed: new AbortController() };
    socket.data = local;
    socket.pause();
    socket.setNoDelay(true);
    locals.add(local);
    connectToGate(slot, local.closed.signal, (gate) => join(local, gate)).catch((error) => {
      if (local.closed.signal.aborted) return;
      print(messageOf(error));
      socket.terminate();
    });
  }
  function join(local: Local, gate: Bun.Socket): End {
    const [localEnd, gateEnd] = splice(local.socket, gate);
    local.end = localEnd;
    local.socket.resume();
    for (const bytes of local.early.splice(0)) localEnd.data(bytes);
    return gateEnd;
  }
  function close(local: Local): void {
    locals.delete(local);
    local.closed.abort();
    local.end?.close();
  }
  const listen = () =>
    Bun.listen<Local | undefined>({
      hostname: "127.0.0.1",
      port,
      allowHalfOpen: true,
      socket: {
        open,
        data: ({ data }, bytes) => (data?.end ? data.end.data(bytes) : void data?.early.push(bytes)),
        drain: ({ data }) => data?.end?.drain(),
        end: ({ data }) => data?.end?.end(),
        close: ({ data }) => data && close(data),
        error: () => {}, // it is closed then
      },
    });
  const listener = await listenOn("--port", port, listen);
  return {
    port: listener.port,
    [Symbol.dispose]() {
      listener.stop();
      for (const { socket } of locals) socket.terminate();
    },
  };
}
