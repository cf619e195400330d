import { expect, test } from "bun:test";
import { createLatest, type Latest } from "../../program/latest.ts";
import { freePort, silentLog } from "../../program/testing.ts";
import type { Gpu, ObservedServer, ServerSource } from "../inventory.ts";
import type { ServerEntry } from "../servers/server_entry.ts";
import { createInventorySource } from "./inventory_source.ts";
import { createServerSource } from "./server_source.ts";
import { startInventoryServer, TEST_IDENTITY } from "./testing.ts";

const GPU: Gpu = { id: "a", model: "Tesla T4", memoryMb: 16_000, healthy: true };

function entries(...addresses: string[]): ServerEntry[] {
  return addresses.map((address) => ({ address }));
}

/** Returns a source for servers whose state is set by the test. */
function createSettableServers(...addresses: string[]): { set(server: ObservedServer): void; observe: ServerSource } {
  const servers = new Map<string, Latest<ObservedServer>>(addresses.map((address) => [address, createLatest()]));
  return {
    set: (server) => servers.get(server.address)?.set(server),
    observe: async function* (address, signal) {
      yield* servers.get(address)?.changes(signal) ?? [];
    },
  };
}

test("createInventorySource() waits until each server is known, then yields all in order at each change", async () => {
  const { set, observe } = createSettableServers("a:1", "b:1");
  const stop = new AbortController();
  const inventories = createInventorySource(
    () => [entries("a:1", "b:1")],
    observe,
    silentLog,
  )(stop.signal)[Symbol.asyncIterator]();
  let first = inventories.next();
  let settled = false;
  first = first.finally(() => {
    settled = true;
  });
  set({ address: "b:1", reachable: true, gpus: [] });
  for (let tick = 0; tick < 20; tick += 1) await Promise.resolve();
  expect(settled).toBe(false);
  set({ address: "a:1", reachable: false });
  expect((await first).value).toEqual({
    servers: [
      { address: "a:1", reachable: false },
      { address: "b:1", reachable: true, gpus: [] },
    ],
  });
  set({ address: "b:1", reachable: false, gpus: [] });
  expect((await inventories.next()).value).toEqual({
    servers: [
      { address: "a:1", reachable: false },
      { address: "b:1", reachable: false, gpus: [] },
    ],
  });
  stop.abort();
  expect((await inventories.next()).done).toBe(true);
});

test("createInventorySource() tells losses together while servers fail, and other changes at once", async () => {
  const { set, observe } = createSettableServers("a:1", "b:1", "c:1");
  const list = () => [entries("a:1", "b:1", "c:1")];
  const times = { losses: 60_000, returns: 0 };
  const source = createInventorySource(list, observe, silentLog, times)(AbortSignal.timeout(4000));
  const inventories = source[Symbol.asyncIterator]();
  for (const address of ["a:1", "b:1", "c:1"]) set({ address, reachable: true, gpus: [] });
  const next = async () => (await inventories.next()).value?.servers;
  expect(await next()).toHaveLength(3);
  set({ address: "a:1", reachable: true, failing: true, gpus: [] });
  set({ address: "b:1", reachable: true, failing: true, gpus: [] });
  await Bun.sleep(0);
  set({ address: "a:1", reachable: false, gpus: [] });
  await Bun.sleep(0);
  set({ address: "c:1", reachable: true, gpus: [GPU] });
  expect(await next()).toEqual([
    { address: "a:1", reachable: true, gpus: [] },
    { address: "b:1", reachable: true, gpus: [] },
    { address: "c:1", reachable: true, gpus: [GPU] },
  ]);
  set({ address: "b:1", reachable: false, gpus: [] });
  expect(await next()).toEqual([
    { address: "a:1", reachable: false, gpus: [] },
    { address: "b:1", reachable: false, gpus: [] },
    { address: "c:1", reachable: true, gpus: [GPU] },
  ]);
});

test.each([
  ["a loss no longer than its time, though another server fails", false],
  ["a return for its time", true],
])("createInventorySource() holds back %s", async (_, isReturn) => {
  const { set, observe } = createSettableServers("a:1", "b:1");
  const times = { losses: isReturn ? 60_000 : 1, returns: isReturn ? 1 : 60_000 };
  const list = () => [entries("a:1", "b:1")];
  const inventories = createInventorySource(list, observe, silentLog, times)(AbortSignal.timeout(4000));
  set({ address: "a:1", reachable: !isReturn });
  set({ address: "b:1", reachable: true, failing: true });
  const states: boolean[] = [];
  for await (const { servers } of inventories) {
    states.push(servers[0]?.reachable === true);
    if (states.length === 2) break;
    set({ address: "a:1", reachable: isReturn });
  }
  expect(states).toEqual([!isReturn, isReturn]);
});

test("createInventorySource() ends the server sources when the reader stops", async () => {
  const ended: string[] = [];
  const observe: ServerSource = async function* (address, signal) {
    yield { address, reachable: true };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    ended.push(address);
  };
  for await (const _ of createInventorySource(
    () => [entries("a:1", "b:1")],
    observe,
    silentLog,
  )(new AbortController().signal))
    break;
  expect(ended.toSorted()).toEqual(["a:1", "b:1"]);
});

test("createInventorySource() rethrows the error of a server source", async () => {
  const observe: ServerSource = async function* (address, signal) {
    if (address === "b:1") throw new Error("failed");
    yield { address, reachable: true };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  };
  const inventories = createInventorySource(
    () => [entries("a:1", "b:1")],
    observe,
    silentLog,
  )(new AbortController().signal);
  expect(await Array.fromAsync(inventories).catch((error) => error.message)).toBe("failed");
});

test("createInventorySource() follows changes of the server list without interrupting the servers that remain", async () => {
  const { set, observe } = createSettableServers("a:1", "b:1", "c:1");
  const addresses = createLatest<readonly ServerEntry[]>(entries("a:1", "b:1"));
  const observed: string[] = [];
  const source = createInventorySource(
    addresses.changes,
    (address, signal) => {
      observed.push(address);
      signal.addEventListener("abort", () => observed.push(`-${address}`), { once: true });
      return observe(address, signal);
    },
    silentLog,
  );
  const stop = new AbortController();
  const inventories = source(stop.signal)[Symbol.asyncIterator]();
  const next = async () => (await inventories.next()).value?.servers.map(({ address }: ObservedServer) => address);
  for (const address of ["a:1", "b:1", "c:1"]) set({ address, reachable: true });
  expect(await next()).toEqual(["a:1", "b:1"]);
  addresses.set(entries("c:1", "b:1"));
  expect(await next()).toEqual(["c:1", "b:1"]);
  expect(observed).toEqual(["a:1", "b:1", "-a:1", "c:1"]);
  stop.abort();
  expect(await next()).toBeUndefined();
});

test("createInventorySource() tells which nodes reach a server, and again when this changes", async () => {
  const { set, observe } = createSettableServers("a:1", "b:1");
  const list = createLatest<readonly ServerEntry[]>([{ address: "a:1", nodes: { zone: "a" } }, { address: "b:1" }]);
  const stop = new AbortController();
  const inventories = createInventorySource(list.changes, observe, silentLog)(stop.signal)[Symbol.asyncIterator]();
  const next = async () => (await inventories.next()).value?.servers.map(({ nodes }: ObservedServer) => nodes);
  for (const address of ["a:1", "b:1"]) set({ address, reachable: true });
  expect(await next()).toEqual([{ zone: "a" }, undefined]);
  set({ address: "a:1", reachable: false });
  expect(await next()).toEqual([{ zone: "a" }, undefined]);
  list.set([{ address: "a:1" }, { address: "b:1", nodes: { zone: "b" } }]);
  expect(await next()).toEqual([undefined, { zone: "b" }]);
  stop.abort();
});

test("createInventorySource() ignores the late state of a server that was removed and added again meanwhile", async () => {
  const [late, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const second = createLatest<ObservedServer>({ address: "a:1", reachable: true, gpus: [] });
  let observers = 0;
  const observe: ServerSource = async function* (address, signal) {
    if (++observers > 1) return yield* second.changes(signal);
    try {
      yield { address, reachable: true };
      await late.promise; // a probe that does not end with its signal
      yield { address, reachable: false };
    } finally {
      ended.resolve();
    }
  };
  const addresses = createLatest<readonly ServerEntry[]>(entries("a:1"));
  const stop = new AbortController();
  const inventories = createInventorySource(addresses.changes, observe, silentLog)(stop.signal)[Symbol.asyncIterator]();
  const next = async () => (await inventories.next()).value?.servers;
  expect(await next()).toEqual([{ address: "a:1", reachable: true }]);
  addresses.set([]);
  expect(await next()).toEqual([]);
  addresses.set(entries("a:1"));
  expect(await next()).toEqual([{ address: "a:1", reachable: true, gpus: [] }]);
  const following = next();
  late.resolve();
  await ended.promise;
  const gpus = [{ id: "x", model: "Tesla T4", memoryMb: 16_000, healthy: true }];
  second.set({ address: "a:1", reachable: true, gpus });
  expect(await following).toEqual([{ address: "a:1", reachable: true, gpus }]);
  stop.abort();
  expect(await next()).toBeUndefined();
});

test("createInventorySource() assigns a repeated GPU to the first server that reports it", async () => {
  const { set, observe } = createSettableServers("a:1", "b:1");
  const [x, y] = ["x", "y"].map((id) => ({ id, model: "Tesla T4", memoryMb: 16_000, healthy: true })) as [Gpu, Gpu];
  set({ address: "a:1", reachable: true, gpus: [x, { ...x, healthy: false }] });
  set({ address: "b:1", reachable: true, gpus: [x, y] });
  for await (const { servers } of createInventorySource(
    () => [entries("a:1", "b:1")],
    observe,
    silentLog,
  )(AbortSignal.timeout(4000))) {
    expect(servers.map(({ gpus }) => gpus)).toEqual([[x], [y]]);
    return;
  }
});

test.each([
  ["its id", "980508"],
  ["another id with the same device name", "166628"],
])("createInventorySource() keeps a GPU on its server if another one reports %s later", async (_, id) => {
  const { set, observe } = createSettableServers("a:1", "b:1");
  const x: Gpu = { id: "980508", model: "Tesla T4", memoryMb: 16_000, healthy: true };
  const y: Gpu = { ...x, id: "Y" };
  set({ address: "a:1", reachable: true, gpus: [] });
  set({ address: "b:1", reachable: true, gpus: [x] });
  const source = createInventorySource(() => [entries("a:1", "b:1")], observe, silentLog)(AbortSignal.timeout(4000));
  const inventories = source[Symbol.asyncIterator]();
  const next = async () => (await inventories.next()).value?.servers.map(({ gpus }: ObservedServer) => gpus);
  expect(await next()).toEqual([[], [x]]);
  set({ address: "a:1", reachable: true, gpus: [{ ...x, id }, y] });
  expect(await next()).toEqual([[y], [x]]);
  set({ address: "b:1", reachable: true, gpus: [] });
  expect(await next()).toEqual([[{ ...x, id }, y], []]);
});

test("createInventorySource() yields a pool whose servers are all unreachable", async () => {
  const addresses = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const source = createInventorySource(
    () => [entries(...addresses)],
    createServerSource({ ...TEST_IDENTITY, interval: 300, log: silentLog }),
    silentLog,
  );
  for await (const { servers } of source(AbortSignal.timeout(4000))) {
    expect(servers).toEqual(addresses.map((address) => ({ address, reachable: false })));
    return;
  }
  throw new Error("No inventory");
});

test("createInventorySource() yields two servers with their GPUs, and an unreachable one", async () => {
  await using first = await startInventoryServer({ hostname: "first", gpus: 2 });
  await using second = await startInventoryServer({ hostname: "second", memoryMb: 8000 });
  const unreachable = `127.0.0.1:${await freePort()}`;
  const addresses = [first.address, unreachable, second.address];
  const source = createInventorySource(
    () => [entries(...addresses)],
    createServerSource({ ...TEST_IDENTITY, interval: 3000, log: silentLog }),
    silentLog,
  );
  for await (const { servers } of source(AbortSignal.timeout(4000))) {
    expect(servers).toEqual([
      { address: first.address, reachable: true, gpus: first.gpus, facts: first.facts },
      { address: unreachable, reachable: false },
      { address: second.address, reachable: true, gpus: second.gpus, facts: second.facts },
    ]);
    return;
  }
  throw new Error("No inventory");
});

test("createInventorySource() yields an empty pool if there are no servers", async () => {
  const { observe } = createSettableServers();
  const inventories = createInventorySource(() => [[]], observe, silentLog)(AbortSignal.timeout(5000));
  expect((await inventories[Symbol.asyncIterator]().next()).value).toEqual({ servers: [] });
});
