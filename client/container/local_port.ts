import { type End, splice } from "../../pool/gate/splice.ts";
import { createBackoff } from "../../program/backoff.ts";
import { listenOn } from "../../program/http/listen.ts";
import { messageOf } from "../../program/log/log.ts";
import { connectToGate } from "./gate_connection.ts";
import type { ProvenLease } from "./lease_slots.ts";

export interface LocalPortOptions {
  /** TCP port at 127.0.0.1; 0 selects a free port. */
  port: number;
  /** What names the port, for messages: such as `--container train`. */
  setting: string;
  /** The lease that connections lead to now. @throws {Error} says why there is none. */
  findLease: () => Promise<ProvenLease>;
  /** Called when connections fail, are closed, or succeed again. */
  print: (message: string) => void;
  /** How long a connection is kept waiting while it cannot be carried on, in ms. */
  patience?: number;
}

/** A port at 127.0.0.1 that leads to the data-plane process of a lease. Disposal closes it and its connections. */
export interface LocalPort extends Disposable {
  readonly port: number;
}

/** A connection of a program of this pod. */
interface Local {
  readonly socket: Bun.Socket<Local | undefined>;
  /** What has arrived before it was connected. */
  early: Buffer[];
  end?: End;
  /** Whether the program has ended it, or the gate. */
  hasEnded: boolean;
  readonly closed: AbortController;
}

/** Data planes do not connect again: a program that starts while the server restarts has to wait. */
const PATIENCE = 30_000;

/**
 * Opens a port whose connections are carried to the gate of a lease. Each connection asks anew for the lease: one that was granted again needs no restart
 * of this.
 *
 * @throws {ConfigError} if the port is in use.
 */
export async function openLocalPort(options: LocalPortOptions): Promise<LocalPort> {
  const { port, setting, findLease, print, patience = PATIENCE } = options;
  const locals = new Set<Local>();
  const stop = new AbortController();
  let explaining = false;

  function open(socket: Bun.Socket<Local | undefined>): void {
    const local: Local = { socket, early: [], hasEnded: false, closed: new AbortController() };
    socket.data = local;
    socket.pause();
    socket.setNoDelay(true);
    locals.add(local);
    void connect(local);
  }

  /** Connects it to the gate, or closes it if that does not succeed in time. */
  async function connect(local: Local): Promise<void> {
    const { signal } = local.closed;
    const deadline = performance.now() + patience;
    const backoff = createBackoff({ max: 2000 });
    while (!signal.aborted) {
      try {
        const lease = await findLease();
        await connectToGate(lease, signal, (gate) => join(local, gate, lease));
        print(`Connected to ${lease.address} with lease ${lease.leaseId}`);
        return;
      } catch (error) {
        if (signal.aborted) return;
        const reason = messageOf(error);
        if (performance.now() >= deadline) {
          print(`Closed a connection that waited for the pool: ${reason}`);
          local.socket.terminate();
          return;
        }
        print(`Connections wait for the pool: ${reason}`);
      }
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }

  function join(local: Local, gate: Bun.Socket, lease: ProvenLease): End {
    const [localEnd, gateEnd] = splice(local.socket, gate);
    local.end = localEnd;
    local.socket.resume();
    for (const bytes of local.early.splice(0)) localEnd.data(bytes);
    function noteEnd(): void {
      if (!local.hasEnded) void explainEnd(lease);
      local.hasEnded = true;
    }
    return {
      ...gateEnd,
      end() {
        noteEnd();
        gateEnd.end();
      },
      close() {
        noteEnd();
        gateEnd.close();
      },
    };
  }

  /** Says why the gate has ended connections, once for all that end together: another connection tells. */
  async function explainEnd(lease: ProvenLease): Promise<void> {
    if (explaining) return;
    explaining = true;
    const reason = await connectToGate(lease, stop.signal, discard).then(
      () => `${lease.address}: the process of the lease, or the server, has closed them`,
      messageOf,
    );
    explaining = false;
    if (!stop.signal.aborted) print(`Connections of lease ${lease.leaseId} have ended: ${reason}`);
  }

  function end(local: Local): void {
    local.hasEnded = true;
    local.end?.end();
  }

  function close(local: Local): void {
    local.hasEnded = true;
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
        end: ({ data }) => data && end(data),
        close: ({ data }) => data && close(data),
        error: () => {}, // it is closed then
      },
    });
  const listener = await listenOn(setting, port, listen);
  return {
    port: listener.port,
    [Symbol.dispose]() {
      stop.abort();
      listener.stop();
      for (const { socket } of locals) socket.terminate();
    },
  };
}

/** Closes a connection to a gate that is not needed. */
function discard(gate: Bun.Socket): End {
  gate.end();
  const ignore = () => {};
  return { data: ignore, drain: ignore, end: ignore, close: ignore };
}
