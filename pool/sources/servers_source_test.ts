import { expect, test } from "bun:test";
import { createLatest, type Latest } from "../../program/latest.ts";
import { freePort, silentLog } from "../../program/testing.ts";
import type { Gpu, PoolServer, ServerSource } from "../inventory.ts";
import { createServerSource } from "./server_source.ts";
import { createServersSource } from "./servers_source.ts";
import { startInventoryServer } from "./testing.ts";

/** Servers that tell what they are set to. */
function settable(...addresses: string[]): { set(server: PoolServer): void; observe: ServerSource } {
  const servers = new Map<string, Latest<PoolServer>>(addresses.map((address) => [address, createLatest()]));
  return {
    set: (server) => servers.get(server.address)?.set(server),
    observe: async function* (address, signal) {
      yield* servers.get(address)?.changes(signal) ?? [];
    },
  };
}

test("createServersSource() tells nothing until each server is known, then all at each change, in the given order", async () => {
  const { set, observe } = settable("a:1", "b:1");
  const stop = new AbortController();
  const inventories = createServersSource(
    () => [["a:1", "b:1"]],
    observe,
    silentLog,
  )(stop.signal)[Symbol.asyncIterator]();
  let first = inventories.next();
  let settled = false;
  first = first.finally(() => {
    settled = true;
  });
  set({ address: "b:1", reachable: true, gpus: [] });
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
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

test("createServersSource() ends what observes when the reader stops", async () => {
  const ended: string[] = [];
  const observe: ServerSource = async function* (address, signal) {
    yield { address, reachable: true };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    ended.push(address);
  };
  for await (const _ of createServersSource(() => [["a:1", "b:1"]], observe, silentLog)(new AbortController().signal))
    break;
  expect(ended.toSorted()).toEqual(["a:1", "b:1"]);
});

test("createServersSource() throws what an observer throws", async () => {
  const observe: ServerSource = async function* (address, signal) {
    if (address === "b:1") throw new Error("out of order");
    yield { address, reachable: true };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  };
  const inventories = createServersSource(() => [["a:1", "b:1"]], observe, silentLog)(new AbortController().signal);
  expect(await Array.fromAsync(inventories).catch((error) => error.message)).toBe("out of order");
});

test("createServersSource() follows a list of servers that changes, and leaves those alone that stay", async () => {
  const { set, observe } = settable("a:1", "b:1", "c:1");
  const addresses = createLatest<readonly string[]>(["a:1", "b:1"]);
  const observed: string[] = [];
  const source = createServersSource(
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
  const next = async () => (await inventories.next()).value?.servers.map(({ address }: PoolServer) => address);
  for (const address of ["a:1", "b:1", "c:1"]) set({ address, reachable: true });
  expect(await next()).toEqual(["a:1", "b:1"]);
  addresses.set(["c:1", "b:1"]);
  expect(await next()).toEqual(["c:1", "b:1"]);
  expect(observed).toEqual(["a:1", "b:1", "-a:1", "c:1"]);
  stop.abort();
  expect(await next()).toBeUndefined();
});

test("createServersSource() gives a GPU that is told twice to the first server that tells it", async () => {
  const { set, observe } = settable("a:1", "b:1");
  const [x, y] = ["x", "y"].map((id) => ({ id, model: "Tesla T4", memoryMb: 16_000, healthy: true })) as [Gpu, Gpu];
  set({ address: "a:1", reachable: true, gpus: [x, { ...x, healthy: false }] });
  set({ address: "b:1", reachable: true, gpus: [x, y] });
  for await (const { servers } of createServersSource(
    () => [["a:1", "b:1"]],
    observe,
    silentLog,
  )(AbortSignal.timeout(4000))) {
    expect(servers.map(({ gpus }) => gpus)).toEqual([[x], [y]]);
    return;
  }
});

test("createServersSource() tells a pool whose servers are all away", async () => {
  const addresses = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const source = createServersSource(
    () => [addresses],
    createServerSource({ interval: 300, log: silentLog }),
    silentLog,
  );
  for await (const { servers } of source(AbortSignal.timeout(4000))) {
    expect(servers).toEqual(addresses.map((address) => ({ address, reachable: false })));
    return;
  }
  throw new Error("No inventory");
});

test("createServersSource() tells what two servers have, and one that is away", async () => {
  await using first = await startInventoryServer({ hostname: "first", gpus: 2 });
  await using second = await startInventoryServer({ hostname: "second", memoryMb: 8000 });
  const away = `127.0.0.1:${await freePort()}`;
  const addresses = [first.address, away, second.address];
  const source = createServersSource(
    () => [addresses],
    createServerSource({ interval: 3000, log: silentLog }),
    silentLog,
  );
  for await (const { servers } of source(AbortSignal.timeout(4000))) {
    expect(servers).toEqual([
      { address: first.address, reachable: true, gpus: first.gpus, facts: first.facts },
      { address: away, reachable: false },
      { address: second.address, reachable: true, gpus: second.gpus, facts: second.facts },
    ]);
    return;
  }
  throw new Error("No inventory");
});
