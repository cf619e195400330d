import { expect, test } from "bun:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { serveGrpc } from "../grpc/server.ts";
import { freePort } from "../program/testing.ts";
import { PoolService, ShortageSchema } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { type RunningPoolServer, startPoolServer, TEST_HOLDER } from "../server/testing.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { createPoolClient } from "./pool.ts";
import { type PoolClaim, releaseAll } from "./server_lease.ts";

const owner = { namespace: "default", pod: "a", container: "main" };

/** Claims from the servers at `addresses`. Returns the result as a short text. */
async function claim(addresses: readonly string[], request: Partial<PoolClaim>): Promise<string> {
  using pool = createPoolClient(addresses, TEST_CLIENT);
  const claim = { owner, share: { gpus: 1, percent: 100 }, filters: [], ...request };
  return textOf(await pool.claim(claim, AbortSignal.timeout(4000)));
}

function textOf(result: PoolClaimResult): string {
  if ("impossible" in result) return `impossible: ${result.impossible}`;
  if ("wait" in result) return `wait: ${result.wait}`;
  return result.leases.flatMap(({ gpus }) => gpus.map(({ gpuId, units }) => `${gpuId} at ${units}`)).join(", ");
}

function hold({ ledger }: RunningPoolServer, percent: number): void {
  ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus: 1, percent } });
}

test("claim() takes all GPUs from one server if one has them", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b", gpus: 2 });
  expect(await claim([a.address, b.address], { share: { gpus: 2, percent: 30 } })).toBe("b/0 at 30, b/1 at 30");
  expect(a.ledger.leases()).toEqual([]);
  expect(b.ledger.leases()).toMatchObject([{ owner }]);
});

test("claim() takes GPUs from several servers if no single server has enough", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b", gpus: 2 });
  expect(await claim([a.address, b.address], { share: { gpus: 3, memoryMb: 1120 } })).toBe(
    "a/0 at 7, b/0 at 7, b/1 at 7",
  );
});

test("claim() skips a server that is unreachable or full", async () => {
  const unreachable = `127.0.0.1:${await freePort()}`;
  await using full = await startPoolServer({ hostname: "full" });
  hold(full, 100);
  await using b = await startPoolServer({ hostname: "b" });
  expect(await claim([unreachable, full.address, b.address], {})).toBe("b/0 at 100");
});

test("claim() returns wait if a server is full or unreachable, with each reason once", async () => {
  await using full = await startPoolServer();
  hold(full, 1);
  expect(await claim([full.address], {})).toBe("wait: 0 of 1 requested GPUs are available");
  const unreachable = `127.0.0.1:${await freePort()}`;
  const result = await claim([full.address, unreachable], { share: { gpus: 2, percent: 50 } });
  expect(result).toStartWith(`wait: 1 of 2 requested GPUs are available; ${unreachable}: [unavailable] `);
  expect(result.match(/ECONNREFUSED/g)).toHaveLength(1);
});

test("claim() returns impossible only if all servers have responded and can never satisfy the claim", async () => {
  await using a = await startPoolServer();
  expect(await claim([a.address], { share: { gpus: 2, percent: 1 } })).toBe(
    "impossible: The pool can never satisfy the claim: 1 GPUs are suitable, 2 are requested",
  );
  expect(await claim([a.address], { share: { gpus: 1, memoryMb: 16_001 } })).toBe(
    "impossible: The pool can never satisfy the claim: 0 GPUs are suitable, 1 are requested",
  );
  const unreachable = `127.0.0.1:${await freePort()}`;
  expect(await claim([a.address, unreachable], { share: { gpus: 2, percent: 1 } })).toStartWith(
    "wait: 1 of 2 requested GPUs",
  );
});

test("claim() claims only from servers that match server.addr, with or without a port", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b" });
  const addresses = [a.address, b.address];
  const at = (value: string) => ({ share: { gpus: 1, percent: 10 }, filters: [{ key: "server.addr", value }] });
  expect(await claim(addresses, at(b.address))).toBe("b/0 at 10");
  expect(await claim(addresses, at("127.0.0.1"))).toBe("a/0 at 10");
  expect(await claim(addresses, at("127.0.0.2"))).toBe("impossible: No server of the pool has the address 127.0.0.2");
});

test("claim() passes on the other filters to the servers", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b" });
  const filters = [{ key: "server.hostname", value: "b" }];
  expect(await claim([a.address, b.address], { filters })).toBe("b/0 at 100");
});

test("claim() throws if a server rejects the claim as invalid", async () => {
  await using a = await startPoolServer();
  const rejected = claim([a.address], { filters: [{ key: "x", value: "yes" }] });
  expect(await rejected.catch((error) => Code[ConnectError.from(error).code])).toBe("InvalidArgument");
});

/** The error of a server whose one GPU is available, but then claimed by somebody else. */
function shortage() {
  const value = { availableGpus: 1, capableGpus: 1 };
  return new ConnectError("Full", Code.ResourceExhausted, undefined, [{ desc: ShortageSchema, value }]);
}

/** Serves claims with these errors, one after the other, and the last one again. */
function refuse(...errors: [ConnectError, ...ConnectError[]]) {
  return serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        claim() {
          throw errors.length > 1 ? errors.shift() : errors[0];
        },
      }),
  });
}

test("claim() releases its leases and says why if it cannot claim the GPUs of the next server", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using faster = await refuse(shortage());
  await using fails = await refuse(shortage(), new ConnectError("The disk is full", Code.Internal));
  const share = { gpus: 2, percent: 50 };
  expect(await claim([a.address, `127.0.0.1:${faster.port}`], { share })).toBe(
    `wait: Only 1 of 2 requested GPUs could be claimed: another client was faster on 127.0.0.1:${faster.port}`,
  );
  const down = `127.0.0.1:${await freePort()}`;
  const result = await claim([down, a.address, `127.0.0.1:${fails.port}`], { share });
  expect(result).toStartWith(
    `wait: Only 1 of 2 requested GPUs could be claimed: 127.0.0.1:${fails.port}: [internal] The disk is full; ${down}: [unavailable]`,
  );
  expect(a.ledger.leases()).toEqual([]);
});

test("a repeated claim() gets the lease that an earlier one was granted without an answer", async () => {
  await using server = await startPoolServer({ lostAnswers: 1 });
  using pool = createPoolClient([server.address], TEST_CLIENT);
  const request = { owner, share: { gpus: 1, percent: 100 }, filters: [] };
  const first = await pool.claim(request, AbortSignal.timeout(4000));
  expect(textOf(first)).toEndWith("[unavailable] The answer was lost");
  expect(textOf(await pool.claim(request, AbortSignal.timeout(4000)))).toBe("server/0 at 100");
  expect(server.ledger.leases()).toHaveLength(1);
});

test("claim() throws the signal's reason and claims nothing if the signal is aborted", async () => {
  await using a = await startPoolServer();
  using pool = createPoolClient([a.address], TEST_CLIENT);
  const request = { owner, share: { gpus: 1, percent: 100 }, filters: [] };
  const reason = new Error("Enough");
  expect(await pool.claim(request, AbortSignal.abort(reason)).catch((error) => error)).toBe(reason);
  expect(a.ledger.leases()).toEqual([]);
});

test("releaseAll() releases all leases and returns the servers that are unreachable", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  const b = await startPoolServer({ hostname: "b" });
  using pool = createPoolClient([a.address, b.address], TEST_CLIENT);
  const request = { owner, share: { gpus: 2, percent: 100 }, filters: [] };
  const result = await pool.claim(request, AbortSignal.timeout(4000));
  await b[Symbol.asyncDispose]();
  const failures = await releaseAll("leases" in result ? result.leases : []);
  expect(failures).toEqual([expect.stringMatching(new RegExp(`^${b.address}: \\[unavailable\\]`))]);
  expect(a.ledger.leases()).toEqual([]);
});
