import { expect, test } from "bun:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { serveGrpc } from "../grpc/server.ts";
import { deviceName } from "../pool/device_name.ts";
import { freePort } from "../program/testing.ts";
import { PoolService, ShortageSchema } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { type RunningPoolServer, startPoolServer } from "../server/testing.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { createPoolClient } from "./pool.ts";
import { type PoolClaim, releaseAll } from "./server_claim.ts";

const owner = { namespace: "default", pod: "a", container: "main" };

/** Claims from servers at `addresses`, and returns what the pool answers as a short text. */
async function claim(addresses: readonly string[], request: Partial<PoolClaim>): Promise<string> {
  using pool = createPoolClient(addresses);
  const claim = { owner, share: { gpus: 1, percent: 100 }, filters: [], ...request };
  return textOf(await pool.claim(claim, AbortSignal.timeout(4000)));
}

function textOf(answer: PoolClaimResult): string {
  if ("impossible" in answer) return `impossible: ${answer.impossible}`;
  if ("wait" in answer) return `wait: ${answer.wait}`;
  return answer.leases.flatMap(({ gpus }) => gpus.map(({ gpuId, units }) => `${gpuId} at ${units}`)).join(", ");
}

function hold({ ledger }: RunningPoolServer, percent: number): void {
  ledger.claim(owner, { gpus: 1, percent }, () => true);
}

test("claim() takes all GPUs from one server if one has them", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b", gpus: 2 });
  expect(await claim([a.address, b.address], { share: { gpus: 2, percent: 30 } })).toBe("b/0 at 30, b/1 at 30");
  expect(a.ledger.leases()).toEqual([]);
  expect(b.ledger.leases()).toMatchObject([{ owner }]);
});

test("claim() takes GPUs from several servers if no single one has enough", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b", gpus: 2 });
  expect(await claim([a.address, b.address], { share: { gpus: 3, memoryMb: 1120 } })).toBe(
    "a/0 at 7, b/0 at 7, b/1 at 7",
  );
});

test("claim() passes over a server that is away or full", async () => {
  const away = `127.0.0.1:${await freePort()}`;
  await using full = await startPoolServer({ hostname: "full" });
  hold(full, 100);
  await using b = await startPoolServer({ hostname: "b" });
  expect(await claim([away, full.address, b.address], {})).toBe("b/0 at 100");
});

test("claim() waits for what a full server or one that is away may give later, and says each reason once", async () => {
  await using full = await startPoolServer();
  hold(full, 1);
  expect(await claim([full.address], {})).toBe("wait: 0 of 1 GPUs can give the share now");
  const away = `127.0.0.1:${await freePort()}`;
  const answer = await claim([full.address, away], { share: { gpus: 2, percent: 50 } });
  expect(answer).toStartWith(`wait: 1 of 2 GPUs can give the share now; ${away}: [unavailable] `);
  expect(answer.match(/ECONNREFUSED/g)).toHaveLength(1);
});

test("claim() is impossible only when every server has answered that it can never be", async () => {
  await using a = await startPoolServer();
  expect(await claim([a.address], { share: { gpus: 2, percent: 1 } })).toBe(
    "impossible: The pool has 1 GPUs that can ever give this share, 2 are asked for",
  );
  expect(await claim([a.address], { share: { gpus: 1, memoryMb: 16_001 } })).toBe(
    "impossible: The pool has 0 GPUs that can ever give this share, 1 are asked for",
  );
  const away = `127.0.0.1:${await freePort()}`;
  expect(await claim([a.address, away], { share: { gpus: 2, percent: 1 } })).toStartWith("wait: 1 of 2 GPUs");
});

test("claim() asks only the server that server.addr names, with its port or without", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b" });
  const addresses = [a.address, b.address];
  const at = (value: string) => ({ share: { gpus: 1, percent: 10 }, filters: [{ key: "server.addr", value }] });
  expect(await claim(addresses, at(b.address))).toBe("b/0 at 10");
  expect(await claim(addresses, at("127.0.0.1"))).toBe("a/0 at 10");
  expect(await claim(addresses, at("127.0.0.2"))).toBe("impossible: No server of the pool has the address 127.0.0.2");
});

test("claim() leaves the other filters to the servers", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b" });
  const filters = [{ key: "server.hostname", value: "b" }];
  expect(await claim([a.address, b.address], { filters })).toBe("b/0 at 100");
});

test("claim() throws when a server refuses the request itself", async () => {
  await using a = await startPoolServer();
  const refused = claim([a.address], { filters: [{ key: "x", value: "yes" }] });
  expect(await refused.catch((error) => Code[ConnectError.from(error).code])).toBe("InvalidArgument");
});

test("claim() gives back what it has when another client was faster on the next server", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1" },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        claim() {
          const value = { availableGpus: 1, capableGpus: 1 };
          throw new ConnectError("Full", Code.ResourceExhausted, undefined, [{ desc: ShortageSchema, value }]);
        },
      }),
  });
  expect(await claim([a.address, `127.0.0.1:${b.port}`], { share: { gpus: 2, percent: 50 } })).toBe(
    "wait: Another client was faster",
  );
  expect(a.ledger.leases()).toEqual([]);
});

test("claim() throws the signal's reason when it is aborted, and takes nothing", async () => {
  await using a = await startPoolServer();
  using pool = createPoolClient([a.address]);
  const request = { owner, share: { gpus: 1, percent: 100 }, filters: [] };
  const reason = new Error("Enough");
  expect(await pool.claim(request, AbortSignal.abort(reason)).catch((error) => error)).toBe(reason);
  expect(a.ledger.leases()).toEqual([]);
});

test("releaseAll() gives everything back, and tells who cannot be reached", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  const b = await startPoolServer({ hostname: "b" });
  using pool = createPoolClient([a.address, b.address]);
  const request = { owner, share: { gpus: 2, percent: 100 }, filters: [] };
  const answer = await pool.claim(request, AbortSignal.timeout(4000));
  await b[Symbol.asyncDispose]();
  const failures = await releaseAll("leases" in answer ? answer.leases : []);
  expect(failures).toEqual([expect.stringMatching(new RegExp(`^${b.address}: \\[unavailable\\]`))]);
  expect(a.ledger.leases()).toEqual([]);
});

test("claimDevices() takes one lease of each server for all of its GPUs, and nothing if one is not free", async () => {
  await using a = await startPoolServer({ hostname: "a", gpus: 3 });
  await using b = await startPoolServer({ hostname: "b" });
  using pool = createPoolClient([a.address, b.address]);
  const devices = ["a/0", "b/0", "a/2"].map((id) => ({ device: deviceName(id), units: 60 }));
  const answer = await pool.claimDevices(owner, devices, AbortSignal.timeout(4000));
  expect(answer).toMatchObject({ leases: [{ address: a.address }, { address: b.address }] });
  expect(a.ledger.leases().map(({ gpus }) => gpus)).toEqual([
    [
      { gpuId: "a/0", units: 60 },
      { gpuId: "a/2", units: 60 },
    ],
  ]);
  const other = ["a/1", "b/0"].map((id) => ({ device: deviceName(id), units: 60 }));
  expect(await pool.claimDevices(owner, other, AbortSignal.timeout(4000))).toEqual({
    wait: "The GPU b/0 is ours, but 60 % of it is not free",
  });
  expect(a.ledger.leases()).toHaveLength(1);
});
