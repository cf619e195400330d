import { createHeadReader, type HeadReader, MAX_HEAD } from "../../pool/gate/head_reader.ts";
import { type End, splice } from "../../pool/gate/splice.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { KeyPair } from "../../tls/key_pair.ts";
import type { Ledger } from "../leases/ledger.ts";
import { isEqual } from "../leases/secret.ts";
import { createRefusalLog } from "../refusal_log.ts";
import { CONNECTED, type ConnectRequest, formatRefusal, parseConnect, type Refusal } from "./connect_request.ts";

/** How long a client may take for the handshake and its request, in ms. */
const HEAD_TIMEOUT = 10_000;

/** How long a refused client may take to read why, in ms. */
const REFUSAL_TIMEOUT = 1000;

/** Most connections that have not proven a lease. */
const MAX_UNPROVEN = 1024;

/** Most connections of a lease. */
const MAX_PER_LEASE = 512;

/** Time without a byte after which a connection is probed, in ms. */
const KEEP_ALIVE = 30_000;

/** A connected socket, or an address. */
export type Upstream = { readonly fd: number } | { readonly hostname: string; readonly port: number };

/** The TLS port through which the users of leases reach their data-plane processes. Disposal closes all connections. */
export interface Gate extends Disposable {
  readonly port: number;
  /** Uses another certificate for new connections. */
  useTls(tls: KeyPair): void;
}

export interface GateOptions {
  /** 0 selects a free port. */
  port: number;
  /** Address to listen on; all by default. */
  host?: string | undefined;
  tls: KeyPair;
  ledger: Pick<Ledger, "get" | "untilEnded">;
  /**
   * Returns where the process of a lease is reached. The signal is aborted when the client sends no more: one that was killed may still seem to
   * receive.
   *
   * @throws {Error} says why it is not.
   */
  connect: (leaseId: string, left: AbortSignal) => Promise<Upstream>;
  log: Logger;
  /** How long a client may take for the handshake and its request, in ms. */
  headTimeout?: number;
}

/** A connection of a client. */
interface Client {
  readonly socket: Bun.Socket<Client | undefined>;
  readonly head: HeadReader;
  /** Ends it if it does not prove a lease in time, or does not close it once it is refused. */
  timer: ReturnType<typeof setTimeout>;
  state: "reading" | "refused" | "connecting" | End;
  /** What has come after the head of its request. */
  early: Buffer[];
  /** Aborted when it sends no more. */
  readonly left: AbortController;
  readonly closed: AbortController;
}

const ENDED: Refusal = { status: 407, message: "No such lease: it has ended" };
const TOO_LONG: Refusal = { status: 431, message: `Expected a head of at most ${MAX_HEAD} bytes` };
const TOO_LATE: Refusal = { status: 408, message: "The request took too long" };
const TOO_MANY: Refusal = {
  status: 429,
  message: `The lease has ${MAX_PER_LEASE} connections, the most that it may have`,
};

/**
 * Opens the gate. A client sends `CONNECT <lease id>:1` with the lease's secret as a bearer token in Proxy-Authorization, and is connected to
 * the process of this lease until the lease ends.
 *
 * @throws the error of `listen`, such as EADDRINUSE.
 */
export function openGate(options: GateOptions): Gate {
  const { port, host = "::", tls, ledger, connect, log, headTimeout = HEAD_TIMEOUT } = options;
  const logRefusal = createRefusalLog(log);
  const clients = new Set<Client>();
  const unproven = new Set<Client>();
  /** The number of connections of each lease. */
  const perLease = new Map<string, number>();

  function open(socket: Bun.Socket<Client | undefined>): void {
    if (unproven.size >= MAX_UNPROVEN) {
      logRefusal(`${MAX_UNPROVEN} connections have not proven a lease`, socket.remoteAddress);
      socket.terminate();
      return;
    }
    const timer = setTimeout(() => refuse(client, TOO_LATE), headTimeout);
    const head = createHeadReader();
    const signals = { left: new AbortController(), closed: new AbortController() };
    const client: Client = { socket, head, timer, state: "reading", early: [], ...signals };
    socket.data = client;
    clients.add(client);
    unproven.add(client);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE);
  }

  function close(client: Client): void {
    clearTimeout(client.timer);
    clients.delete(client);
    unproven.delete(client);
    if (typeof client.state === "object") client.state.close();
    client.left.abort();
    client.closed.abort();
  }

  /** The client sends no more bytes. */
  function finish(client: Client): void {
    client.left.abort();
    if (typeof client.state === "object") client.state.end();
    else client.socket.terminate();
  }

  function refuse(client: Client, refusal: Refusal): void {
    if (client.closed.signal.aborted) return;
    client.state = "refused";
    logRefusal(`${refusal.status}: ${refusal.message}`, client.socket.remoteAddress);
    client.socket.resume();
    client.socket.write(formatRefusal(refusal));
    client.socket.shutdown(); // not end(): the answer would be lost if the client is still sending
    clearTimeout(client.timer);
    client.timer = setTimeout(() => client.socket.terminate(), REFUSAL_TIMEOUT);
  }

  function read(client: Client, bytes: Buffer): void {
    if (typeof client.state === "object") client.state.data(bytes);
    else if (client.state === "connecting") client.early.push(bytes);
    else if (client.state === "reading") readHead(client, bytes);
  }

  function readHead(client: Client, bytes: Buffer): void {
    const complete = client.head.read(bytes);
    if (client.head.isTooLong) refuse(client, TOO_LONG);
    else if (complete) {
      const request = parseConnect(complete.head);
      client.early.push(complete.rest);
      if ("status" in request) refuse(client, request);
      else void serve(client, request);
    }
  }

  async function serve(client: Client, { leaseId, secret }: ConnectRequest): Promise<void> {
    const [lease, untilEnded] = [ledger.get(leaseId), ledger.untilEnded(leaseId)];
    if (!lease || !untilEnded || !isEqual(lease.secret, secret)) return refuse(client, ENDED);
    const connections = perLease.get(leaseId) ?? 0;
    if (connections >= MAX_PER_LEASE) return refuse(client, TOO_MANY);
    clearTimeout(client.timer);
    unproven.delete(client);
    perLease.set(leaseId, connections + 1);
    client.closed.signal.addEventListener("abort", () => {
      const others = (perLease.get(leaseId) ?? 1) - 1;
      if (others > 0) perLease.set(leaseId, others);
      else perLease.delete(leaseId);
    });
    client.state = "connecting";
    client.socket.pause();
    try {
      await join(client, await connect(leaseId, client.left.signal), untilEnded);
    } catch (error) {
      refuse(client, { status: 503, message: messageOf(error) });
    }
  }

  /** Connects a client to the process of its lease, until the lease ends. */
  function join(client: Client, to: Upstream, untilEnded: AbortSignal): Promise<unknown> {
    const options: Bun.SocketOptions<End | undefined> = {
      allowHalfOpen: true,
      socket: {
        open(upstream) {
          const [clientEnd, upstreamEnd] = splice(client.socket, upstream);
          client.state = clientEnd;
          upstream.data = upstreamEnd;
          upstream.setNoDelay(true);
          upstreamEnd.data(Buffer.from(CONNECTED));
          client.socket.resume();
          for (const bytes of client.early.splice(0)) clientEnd.data(bytes);
          const cut = () => {
            client.socket.terminate();
            upstream.terminate();
          };
          untilEnded.addEventListener("abort", cut, { signal: client.closed.signal });
          if (untilEnded.aborted || client.closed.signal.aborted) cut();
        },
        data: (upstream, bytes) => upstream.data?.data(bytes),
        drain: (upstream) => upstream.data?.drain(),
        end: (upstream) => upstream.data?.end(),
        close: (upstream) => upstream.data?.close(),
        error: () => {}, // it is closed then
      },
    };
    return Bun.connect({ ...options, ...to } as Bun.TCPSocketConnectOptions<End | undefined>); // whose types lack fd
  }

  function listen(port: number, { cert, key }: KeyPair): Bun.TCPSocketListener<Client | undefined> {
    const options: Bun.TCPSocketListenOptions<Client | undefined> & { reusePort: boolean } = {
      hostname: host,
      port,
      reusePort: true, // for another certificate, another listener takes over
      allowHalfOpen: true,
      tls: { cert, key },
      socket: {
        open,
        handshake: () => {}, // without it, open would be called only after the handshake
        data: ({ data }, bytes) => data && read(data, bytes),
        drain: ({ data }) => (typeof data?.state === "object" ? data.state.drain() : undefined),
        end: (socket) => (socket.data ? finish(socket.data) : socket.terminate()),
        close: ({ data }) => data && close(data),
        error: () => {}, // it is closed then
      },
    };
    return Bun.listen(options);
  }

  // unlike the listener, whose port can be shared, it fails if another program uses the port
  const probe = Bun.listen({ hostname: host, port, socket: { data() {} } });
  const actualPort = probe.port;
  probe.stop(true);
  let listener = listen(actualPort, tls);
  let current = tls;
  return {
    port: actualPort,
    useTls(next) {
      if (next.cert === current.cert && next.key === current.key) return;
      const previous = listener;
      listener = listen(actualPort, next);
      previous.stop();
      current = next;
    },
    [Symbol.dispose]() {
      listener.stop();
      for (const { socket } of clients) socket.terminate();
    },
  };
}
