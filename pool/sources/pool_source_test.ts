import { expect, test } from "bun:test";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { createTestClient, TEST_CLIENT, TEST_SERVER } from "../../tls/testing.ts";
import type { Inventory } from "../inventory.ts";
import type { Token } from "../token/token.ts";
import { createPoolSource } from "./pool_source.ts";
import { startInventoryServer } from "./testing.ts";

const OPTIONS = { interval: 300, log: silentLog };

async function until(inventories: AsyncIterator<Inventory>, isExpected: (inventory: Inventory) => boolean) {
  for (;;) {
    const { done, value } = await inventories.next();
    if (done) throw new Error("The source has ended");
    if (isExpected(value)) return value;
  }
}

const isReported = ({ servers }: Inventory) => servers.every(({ gpus }) => gpus !== undefined);

test("createPoolSource() waits for the token, and uses a new token for new connections", async () => {
  await using server = await startInventoryServer();
  const token = createLatest<Token>();
  const signal = AbortSignal.timeout(20_000);
  const source = createPoolSource([{ address: server.address }], {
    ...OPTIONS,
    token: (signal) => token.changes(signal),
  });
  const inventories = source(signal)[Symbol.asyncIterator]();
  const first = until(inventories, isReported);
  token.set({ tls: TEST_CLIENT });
  expect((await first).servers[0]?.gpus).toEqual(server.gpus);
  token.set({ tls: { ...TEST_SERVER, ca: "-" } }); // no connection succeeds with it
  await server[Symbol.asyncDispose]();
  await until(inventories, ({ servers }) => servers[0]?.reachable === false);
  await using _second = await startInventoryServer({ port: server.port });
  token.set({ tls: await createTestClient("another") });
  await until(inventories, ({ servers }) => servers[0]?.reachable === true);
  await inventories.return?.();
}, 20_000);

test("createPoolSource() takes a server for reachable if the token is for another protocol", async () => {
  await using server = await startInventoryServer();
  const source = createPoolSource([{ address: server.address }], {
    ...OPTIONS,
    token: createLatest<Token>({}).changes,
  });
  for await (const { servers } of source(AbortSignal.timeout(4000))) {
    expect(servers).toEqual([{ address: server.address, reachable: true, foreign: true }]);
    return;
  }
  throw new Error("No inventory");
});

test("createPoolSource() throws what its token source throws", async () => {
  const token = async function* (): AsyncGenerator<Token> {
    throw new Error("No token");
    // biome-ignore lint/correctness/noUnreachable: a generator needs a yield
    yield {};
  };
  const source = createPoolSource([{ address: "127.0.0.1:1" }], { ...OPTIONS, token });
  expect(await Array.fromAsync(source(AbortSignal.timeout(4000))).then(String, String)).toBe("Error: No token");
});
