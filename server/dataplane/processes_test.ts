import { expect, test } from "bun:test";
import { silentLog } from "../../program/testing.ts";
import { simulatedGpus } from "../gpus/simulated.ts";
import { createLedger } from "../leases/ledger.ts";
import { TEST_HOLDER } from "../testing.ts";
import { createLeaseProcesses, type LeaseProcesses } from "./processes.ts";
import { prepareIsolation } from "./sandbox/isolation.ts";
import { createNamespaceConnector } from "./sandbox/network_namespace.ts";
import type { Sandbox, SandboxOptions } from "./sandbox/sandbox.ts";
import { startSandbox } from "./sandbox/sandbox.ts";
import { processesOf } from "./sandbox/uids.ts";
import { ask, CAN_ISOLATE, createTestDataPlane } from "./testing/sandboxes.ts";

const GPUS = simulatedGpus({ count: 2, memory: 16_000, model: "T4" }, "gpu");

function newLedger() {
  let id = 0;
  return createLedger({
    gpus: () => GPUS,
    timeToLive: () => 60_000,
    newId: () => String(++id),
    newSecret: () => "secret",
  });
}

/** Of a connection that stays. */
const OPEN = new AbortController().signal;

/** Claims a share of GPUs, and returns the id of the lease. */
function claim(ledger: ReturnType<typeof newLedger>, gpus: number, percent: number): string {
  const owner = { namespace: "default", pod: "a", container: "main" };
  const result = ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus, percent } });
  if ("lease" in result) return result.lease.id;
  throw new Error("The ledger refuses");
}

/** A process of a test. */
interface FakeProcess {
  readonly options: SandboxOptions;
  /** Whether it was told to end. */
  isEnding: boolean;
  /** Ends it. */
  die(how: string): void;
}

/** The processes of a data plane, without real ones. A process listens once it is in `listening`. */
function fakeProcesses({ startTimeout = 20_000, idleTimeout = 20_000, refusalTime = 20_000 } = {}) {
  const started: FakeProcess[] = [];
  const listening = new Set<number>();
  const changed = { resolve: () => {} };
  const ledger = newLedger();
  async function start(options: SandboxOptions): Promise<Sandbox> {
    const ended = Promise.withResolvers<string>();
    const exited = new AbortController();
    const fake: FakeProcess = {
      options,
      isEnding: false,
      die(how) {
        exited.abort();
        ended.resolve(how);
      },
    };
    started.push(fake);
    listening.add(started.length);
    changed.resolve();
    const end = async () => {
      fake.isEnding = true;
      changed.resolve();
      await ended.promise;
    };
    return { pid: started.length, ended: ended.promise, signal: exited.signal, end };
  }
  const configuration = {
    name: "test",
    build: "1",
    command: ["serve", "{gpuUuids}"],
    environment: {},
    folder: "/run/test",
    firstUid: 5000,
    memoryTolerance: 512,
  };
  const connect = (pid: number) => (listening.has(pid) ? pid : undefined);
  const log = silentLog;
  const options = {
    configuration,
    ledger,
    gpus: () => GPUS,
    start,
    connect,
    log,
    startTimeout,
    idleTimeout,
    refusalTime,
  };
  return {
    ledger,
    started,
    listening,
    processes: createLeaseProcesses(options),
    /** Resolves once this is true. */
    async until(condition: () => boolean) {
      while (!condition()) await new Promise<void>((resolve) => Object.assign(changed, { resolve }));
    },
  };
}

/** Lets everything run that waits for nothing. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function messageOf(connection: Promise<number>): Promise<string> {
  return connection.then(String, ({ message }) => message);
}

test("a process starts when its lease is first used, once, with the lease's GPUs and a uid of its own", async () => {
  const { ledger, started, processes } = fakeProcesses();
  const [a, b] = [claim(ledger, 1, 60), claim(ledger, 1, 60)];
  expect(started).toEqual([]);
  expect(await Promise.all([processes.connect(a, OPEN), processes.connect(a, OPEN)])).toEqual([1, 1]);
  expect(await processes.connect(b, OPEN)).toBe(2);
  expect(started.map(({ options: { uid, folder, launch } }) => [uid, folder, launch.command])).toEqual([
    [5000, "/run/test/1", ["serve", "gpu/0"]],
    [5001, "/run/test/2", ["serve", "gpu/1"]],
  ]);
});

test("a process that has died starts again when its lease is next used", async () => {
  const { ledger, started, processes } = fakeProcesses();
  const lease = claim(ledger, 1, 100);
  await processes.connect(lease, OPEN);
  started[0]?.die("it exited with status 1");
  await nextTurn();
  expect(started).toHaveLength(1);
  expect(await processes.connect(lease, OPEN)).toBe(2);
});

test("a connection is told that the process has died before it listened", async () => {
  const { ledger, started, listening, processes, until } = fakeProcesses();
  const connection = messageOf(processes.connect(claim(ledger, 1, 100), OPEN));
  await until(() => started.length === 1);
  listening.clear();
  started[0]?.die("it exited with status 127");
  expect(await connection).toBe("The data-plane process has died: it exited with status 127");
});

test("a process starts only when those of ended leases on its GPUs are gone", async () => {
  const { ledger, started, processes, until } = fakeProcesses();
  const [old, other] = [claim(ledger, 1, 60), claim(ledger, 1, 60)];
  await Promise.all([processes.connect(old, OPEN), processes.connect(other, OPEN)]);
  ledger.release(old);
  await until(() => started[0]?.isEnding === true);
  const next = processes.connect(claim(ledger, 2, 40), OPEN);
  await nextTurn();
  expect(started).toHaveLength(2);
  expect(started[1]?.isEnding).toBe(false);
  started[0]?.die("it was killed by SIGKILL");
  expect(await next).toBe(3);
});

test("a uid is used again only when the process of the ended lease is gone", async () => {
  const { ledger, started, processes } = fakeProcesses();
  const first = claim(ledger, 1, 100);
  await processes.connect(first, OPEN);
  ledger.release(first);
  claim(ledger, 1, 50); // on the first GPU, whose process does not end
  await processes.connect(claim(ledger, 1, 100), OPEN);
  expect(started.map(({ options }) => options.uid)).toEqual([5000, 5001]);
});

test("a connection is told after a time why there is no process", async () => {
  const { ledger, started, listening, processes, until } = fakeProcesses({ startTimeout: 50 });
  const first = claim(ledger, 2, 100);
  await processes.connect(first, OPEN);
  ledger.release(first);
  const waiting = claim(ledger, 1, 50);
  expect(await messageOf(processes.connect(waiting, OPEN))).toBe(
    "The data-plane process waits for that of an ended lease, which still uses the GPU",
  );
  started[0]?.die("it was killed by SIGKILL");
  await until(() => started.length === 2);
  listening.clear();
  expect(await messageOf(processes.connect(waiting, OPEN))).toBe("The data-plane process does not listen");
});

test("a connection that waits is told that its lease has ended", async () => {
  const { ledger, started, listening, processes, until } = fakeProcesses();
  const lease = claim(ledger, 1, 100);
  const connection = messageOf(processes.connect(lease, OPEN));
  await until(() => started.length === 1);
  listening.clear();
  ledger.release(lease);
  expect(await connection).toBe("The lease has ended");
  expect(await messageOf(Promise.try(() => processes.connect(lease, OPEN)))).toBe("The lease has ended");
});

test("a process that nobody is connected to any more ends, and the next one starts when it is gone", async () => {
  const { ledger, started, processes, until } = fakeProcesses({ idleTimeout: 10 });
  const lease = claim(ledger, 1, 100);
  const [first, second] = [new AbortController(), new AbortController()];
  await processes.connect(lease, first.signal);
  first.abort();
  await processes.connect(lease, second.signal);
  second.abort();
  await until(() => started[0]?.isEnding === true);
  const next = processes.connect(lease, OPEN);
  await nextTurn();
  expect(started).toHaveLength(1);
  started[0]?.die("it exited with status 0");
  expect(await next).toBe(2);
  expect(ledger.get(lease)).toBeDefined();
});

test("a process stays while anybody is connected to it", async () => {
  const { ledger, started, processes, until } = fakeProcesses({ idleTimeout: 10 });
  const [used, unused] = [claim(ledger, 1, 10), claim(ledger, 1, 10)];
  for (const lease of [used, unused]) {
    const closed = new AbortController();
    await processes.connect(lease, closed.signal);
    if (lease === used) await processes.connect(lease, OPEN);
    closed.abort();
  }
  await until(() => started[1]?.isEnding === true);
  expect(started[0]?.isEnding).toBe(false);
});

test("a process that is stopped ends, and connections are told why", async () => {
  const { ledger, started, processes, until } = fakeProcesses();
  const [lease, other] = [claim(ledger, 1, 50), claim(ledger, 1, 50)];
  await Promise.all([processes.connect(lease, OPEN), processes.connect(other, OPEN)]);
  processes.stop(lease, "The process used too much");
  await until(() => started[0]?.isEnding === true);
  expect(await messageOf(processes.connect(lease, OPEN))).toBe("The process used too much");
  started[0]?.die("it was killed by SIGKILL");
  await nextTurn();
  expect(await messageOf(processes.connect(lease, OPEN))).toBe("The process used too much");
  expect(started[1]?.isEnding).toBe(false);
  expect(await processes.connect(other, OPEN)).toBe(2);
});

test("a connection that waits for a process that is stopped is told why", async () => {
  const { ledger, started, listening, processes, until } = fakeProcesses();
  const lease = claim(ledger, 1, 50);
  const connection = messageOf(processes.connect(lease, OPEN));
  await until(() => started.length === 1);
  listening.clear();
  processes.stop(lease, "The process used too much");
  started[0]?.die("it was killed by SIGTERM");
  expect(await connection).toBe("The process used too much");
});

test("a process that was stopped starts again after a while, when its lease is used", async () => {
  const { ledger, started, processes } = fakeProcesses({ refusalTime: 1 });
  const lease = claim(ledger, 1, 50);
  await processes.connect(lease, OPEN);
  processes.stop(lease, "The process used too much");
  started[0]?.die("it was killed by SIGTERM");
  while ((await messageOf(processes.connect(lease, OPEN))) !== "2") await nextTurn();
});

test("a lease without a process is not refused when it is stopped", async () => {
  const { ledger, processes } = fakeProcesses();
  const lease = claim(ledger, 1, 50);
  processes.stop(lease, "The process used too much");
  expect(await processes.connect(lease, OPEN)).toBe(1);
});

test("a uid belongs to its lease until this ends", async () => {
  const { ledger, processes } = fakeProcesses();
  const lease = claim(ledger, 1, 50);
  await processes.connect(lease, OPEN);
  expect([processes.leaseOf(5000), processes.leaseOf(5001)]).toEqual([lease, undefined]);
  ledger.release(lease);
  expect(processes.leaseOf(5000)).toBeUndefined();
});

test("disposal ends all processes", async () => {
  const { ledger, started, processes, until } = fakeProcesses();
  await Promise.all([processes.connect(claim(ledger, 1, 60), OPEN), processes.connect(claim(ledger, 1, 60), OPEN)]);
  const disposed = processes[Symbol.asyncDispose]();
  await until(() => started.every(({ isEnding }) => isEnding));
  for (const { die } of started) die("it exited with status 0");
  await disposed;
});

test.skipIf(!CAN_ISOLATE)(
  "real processes are gone when their lease has ended, before the next one starts",
  async () => {
    await using plane = await createTestDataPlane({ IGNORE_SIGTERM: "1", CUDA_VISIBLE_DEVICES: "{gpuUuids}" });
    const { configuration } = plane;
    await prepareIsolation(configuration);
    using connector = createNamespaceConnector();
    const ledger = newLedger();
    const { connect } = connector;
    const options = { configuration, ledger, gpus: () => GPUS, start: startSandbox, connect, log: silentLog };
    await using processes: LeaseProcesses = createLeaseProcesses(options);
    const lease = claim(ledger, 2, 100);
    const environment = await ask(await processes.connect(lease, OPEN), "environment");
    expect(environment).toMatchObject({ CUDA_VISIBLE_DEVICES: "gpu/0,gpu/1" });
    ledger.release(lease);
    const next = processes.connect(claim(ledger, 1, 1), OPEN);
    expect(processesOf((uid) => uid === configuration.firstUid)).toHaveLength(1); // it ignores SIGTERM
    await next;
    expect(processesOf((uid) => uid === configuration.firstUid)).toHaveLength(0);
  },
);
