import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { freePort, startPoolServer } from "../server/testing.ts";
import { connectTcp, connectUnix, type GrpcChannel } from "./client.ts";

function call(channel: GrpcChannel): Promise<unknown> {
  return createClient(PoolService, channel.transport)
    .getInventory({})
    .then(
      ({ inventory }) => inventory?.hostname,
      (error) => Code[ConnectError.from(error).code],
    );
}

test("connectTcp() fails with Unavailable while nobody listens, and works once somebody does", async () => {
  const port = await freePort();
  using channel = connectTcp(`127.0.0.1:${port}`);
  expect(await call(channel)).toBe("Unavailable");
  await using _server = await startPoolServer({ port, hostname: "late" });
  expect(await call(channel)).toBe("late");
});

test("connectTcp() works again when the server has been replaced", async () => {
  const first = await startPoolServer({ hostname: "first" });
  using channel = connectTcp(first.address);
  expect(await call(channel)).toBe("first");
  await first[Symbol.asyncDispose]();
  expect(await call(channel)).toBe("Unavailable");
  await using _second = await startPoolServer({ port: first.port, hostname: "second" });
  expect(await call(channel)).toBe("second");
});

test("connectUnix() fails where there is no socket", async () => {
  using channel = connectUnix(join(tmpdir(), crypto.randomUUID()));
  expect(await call(channel)).toBeOneOf(["Internal", "Unavailable"]);
});
