import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Backoff, createBackoff } from "../../program/backoff.ts";
import type { Logger } from "../../program/log/log.ts";
import type { ServerGpu } from "../gpus/gpu.ts";
import type { Lease, Ledger } from "../leases/ledger.ts";
import { type DataPlaneConfiguration, UID_COUNT } from "./configuration.ts";
import { launchFor } from "./launch.ts";
import type { Sandbox, SandboxOptions } from "./sandbox/sandbox.ts";

/** The port on which each process listens, in a network of its own. */
const PORT = 14_833;

/** Time from SIGTERM to SIGKILL, in ms. The next lease on the GPU waits for it. */
const GRACE = 2000;

/** Time after SIGKILL after which a process that is still there is an error, in ms. */
const KILL_TIMEOUT = 10_000;

/** How long a connection waits for its process, in ms. */
const START_TIMEOUT = 30_000;

/** How long a process must have run so that the next one starts soon, in ms. */
const STABLE = 60_000;

/** How long connections to a process that was ended for what it did are refused, in ms: its user reads why. */
const REFUSAL_TIME = 10_000;

/** How long a process runs that nobody is connected to, in ms. Programs that connect one after the other share a process. */
const IDLE_TIMEOUT = 5000;

/** Time between two tries to connect to a process that has just started, in ms. */
const CONNECT_PERIOD = 20;

/** The data-plane processes of a server, one for each lease that is used. Disposal ends them. */
export interface LeaseProcesses extends AsyncDisposable {
  /**
   * Connects to the process of a lease, and starts it if it does not run. Returns the file descriptor of a socket.
   *
   * @param closed aborted when the connection is not used any more.
   * @throws {Error} says why there is no connection: the lease has ended, or its process does not start or does not listen.
   */
  connect(leaseId: string, closed: AbortSignal): Promise<number>;
  /**
   * Ends the process of a lease, if it has one. Its connections end, and for a while others fail with the reason. Then the process starts again when
   * the lease is used.
   *
   * @param reason a sentence for the user of the lease, without a full stop
   */
  stop(leaseId: string, reason: string): void;
  /** The id of the lease whose processes have this uid. */
  leaseOf(uid: number): string | undefined;
}

export interface LeaseProcessesOptions {
  configuration: DataPlaneConfiguration;
  ledger: Pick<Ledger, "get" | "untilEnded">;
  /** The server's GPUs now. */
  gpus: () => readonly ServerGpu[];
  start: (options: SandboxOptions) => Promise<Sandbox>;
  /** Returns a socket that is connected to a port in the network of a process. Undefined if nothing listens yet. */
  connect: (pid: number, port: number) => number | undefined;
  log: Logger;
  /** How long a connection waits for its process, in ms. */
  startTimeout?: number;
  /** How long connections to a process that was stopped are refused, in ms. */
  refusalTime?: number;
  /** How long a process runs that nobody is connected to, in ms. */
  idleTimeout?: number;
}

/** What runs for a lease. */
interface Entry {
  readonly lease: Lease;
  /** Aborted when the process must end. */
  readonly signal: AbortSignal;
  readonly uid: number;
  readonly backoff: Backoff;
  /** The process that runs or is being started. */
  sandbox?: Promise<Sandbox> | undefined;
  /** Whether the last process has died or did not start. */
  hasFailed: boolean;
  /** What a connection waits for. */
  waitsFor: string;
  /** The connections that are in use or wait for the process. */
  connections: number;
  /** Runs while there are none. */
  idleTimer?: ReturnType<typeof setTimeout>;
  /** While a process that nobody was connected to ends. */
  idleEnd?: Promise<void> | undefined;
  /** Why connections are refused for now. */
  refusal?: string | undefined;
}

/**
 * Creates the data plane of a server. A process starts when its lease is first used, and again when it is used after the process has died,
 * with a delay that grows while it keeps dying. It ends with the lease, and earlier if nobody is connected to it: what it has on its GPUs would
 * be of use to nobody.
 *
 * The ledger may grant the GPUs of a lease that has ended at once. So a process starts only when those of ended leases on its GPUs are gone.
 */
export function createLeaseProcesses(options: LeaseProcessesOptions): LeaseProcesses {
  const { configuration, ledger, gpus, start, connect, log } = options;
  const { startTimeout = START_TIMEOUT, idleTimeout = IDLE_TIMEOUT, refusalTime = REFUSAL_TIME } = options;
  const entries = new Map<string, Entry>();
  /** Those of leases that have ended, until their processes are gone. */
  const ending = new Map<Entry, Promise<void>>();
  const shutdown = new AbortController();

  function entryOf(leaseId: string): Entry {
    const known = entries.get(leaseId);
    if (known) return known;
    if (shutdown.signal.aborted) throw new Error("The server shuts down");
    const [lease, ended] = [ledger.get(leaseId), ledger.untilEnded(leaseId)];
    if (!lease || !ended) throw new Error("The lease has ended");
    const signal = AbortSignal.any([ended, shutdown.signal]);
    const process = { backoff: createBackoff(), hasFailed: false, waitsFor: "", connections: 0 };
    const entry: Entry = { lease, signal, uid: freeUid(), ...process };
    entries.set(leaseId, entry);
    signal.addEventListener("abort", () => end(entry), { once: true });
    return entry;
  }
  function freeUid(): number {
    const used = new Set([...entries.values(), ...ending.keys()].map(({ uid }) => uid));
    for (let uid = configuration.firstUid; uid < configuration.firstUid + UID_COUNT; uid++) {
      if (!used.has(uid)) return uid;
    }
    throw new Error("All uids are in use");
  }
  function fieldsOf({ lease: { id, owner, holder } }: Entry) {
    return { lease: id, client: holder.client, owner };
  }

  async function startFor(entry: Entry): Promise<Sandbox> {
    const { lease, signal, uid } = entry;
    entry.waitsFor = "is not started again before a delay";
    if (entry.hasFailed) await entry.backoff.wait(signal);
    entry.waitsFor = "waits for that of an ended lease, which still uses the GPU";
    await untilFree(lease);
    signal.throwIfAborted();
    entry.waitsFor = "does not listen";
    const folder = join(configuration.folder, lease.id);
    const launch = launchFor(configuration, lease, gpus(), { port: PORT, leaseFolder: folder });
    const onLine = (line: string, dropped: number) =>
      log.info("Data-plane output", { ...fieldsOf(entry), line, ...(dropped > 0 ? { dropped } : {}) });
    const sandbox = await start({ launch, uid, folder, onLine });
    log.info("Data-plane process started", { ...fieldsOf(entry), pid: sandbox.pid });
    void watch(entry, sandbox);
    return sandbox;
  }
  /** Resolves when the processes of ended leases on these GPUs are gone. */
  async function untilFree({ gpus }: Lease): Promise<void> {
    const sharesGpu = ({ lease }: Entry) => lease.gpus.some(({ gpuId }) => gpus.some((gpu) => gpu.gpuId === gpuId));
    await Promise.all([...ending].filter(([entry]) => sharesGpu(entry)).map(([, gone]) => gone));
  }
  async function watch(entry: Entry, sandbox: Sandbox): Promise<void> {
    const startedAt = performance.now();
    const how = await sandbox.ended;
    entry.sandbox = undefined;
    entry.hasFailed = entry.idleEnd === undefined;
    if (performance.now() - startedAt > STABLE) entry.backoff.reset();
    if (entry.idleEnd) log.info("Data-plane process ended: nobody was connected to it", { ...fieldsOf(entry), how });
    else if (entry.signal.aborted) log.info("Data-plane process ended with its lease", { ...fieldsOf(entry), how });
    else log.warn("Data-plane process has died", { ...fieldsOf(entry), how });
  }

  /** Counts a connection until it is closed. */
  function count(entry: Entry, closed: AbortSignal): void {
    if (closed.aborted) throw new Error("The connection was closed");
    entry.connections += 1;
    clearTimeout(entry.idleTimer);
    const leave = () => {
      entry.connections -= 1;
      if (entry.connections === 0) entry.idleTimer = setTimeout(() => endIdle(entry), idleTimeout);
    };
    closed.addEventListener("abort", leave, { once: true });
  }

  function endIdle(entry: Entry): void {
    if (entry.signal.aborted || !entry.sandbox) return;
    entry.idleEnd = untilGone(entry).finally(() => {
      entry.idleEnd = undefined;
    });
  }

  function end(entry: Entry): void {
    clearTimeout(entry.idleTimer);
    entries.delete(entry.lease.id);
    ending.set(
      entry,
      untilGone(entry).finally(() => ending.delete(entry)),
    );
  }
  async function untilGone(entry: Entry): Promise<void> {
    const sandbox = await entry.sandbox?.catch(() => undefined);
    if (!sandbox) return;
    const late = setTimeout(() => {
      log.error("Data-plane process does not end: the next one waits for it", fieldsOf(entry));
    }, GRACE + KILL_TIMEOUT);
    await sandbox.end(GRACE);
    clearTimeout(late);
  }

  async function connectTo(entry: Entry, deadline: AbortSignal): Promise<number> {
    if (entry.idleEnd) {
      entry.waitsFor = "waits for the earlier one of the lease, which does not end";
      await abortable(entry.idleEnd, deadline);
    }
    entry.sandbox ??= startFor(entry).catch((error) => {
      entry.sandbox = undefined;
      entry.hasFailed = true;
      throw error;
    });
    const sandbox = await abortable(entry.sandbox, deadline);
    const until = AbortSignal.any([deadline, sandbox.signal]);
    while (!until.aborted) {
      const fd = connect(sandbox.pid, PORT);
      if (fd !== undefined) return fd;
      await sleep(CONNECT_PERIOD, undefined, { signal: until }).catch(() => {});
    }
    deadline.throwIfAborted();
    throw new Error(`The data-plane process has died: ${await abortable(sandbox.ended, deadline)}`);
  }

  return {
    async connect(leaseId, closed) {
      const entry = entryOf(leaseId);
      count(entry, closed);
      const timeout = AbortSignal.timeout(startTimeout);
      try {
        if (entry.refusal !== undefined) throw new Error(entry.refusal);
        return await connectTo(entry, AbortSignal.any([timeout, entry.signal]));
      } catch (error) {
        if (entry.signal.aborted) throw new Error("The lease has ended");
        if (entry.refusal !== undefined) throw new Error(entry.refusal);
        if (timeout.aborted) throw new Error(`The data-plane process ${entry.waitsFor}`);
        throw error;
      }
    },
    stop(leaseId, reason) {
      const entry = entries.get(leaseId);
      if (!entry?.sandbox) return;
      log.warn("Ending a data-plane process", { ...fieldsOf(entry), why: reason });
      entry.refusal = reason;
      setTimeout(() => {
        entry.refusal = undefined;
      }, refusalTime).unref();
      void untilGone(entry);
    },
    leaseOf: (uid) => entries.values().find((entry) => entry.uid === uid)?.lease.id,
    async [Symbol.asyncDispose]() {
      shutdown.abort();
      await Promise.race([Promise.all(ending.values()), sleep(GRACE + KILL_TIMEOUT)]);
    },
  };
}

/** Rejects with the signal's reason if the signal is aborted first. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener("abort", abort));
}
