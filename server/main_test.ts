import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { createClient } from "@connectrpc/connect";
import { stringify } from "yaml";
import { connectTls } from "../grpc/client.ts";
import { startProgram } from "../program/processes/child_program.ts";
import { usedPort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import { createTestClient, TEST_CLIENT } from "../tls/testing.ts";
import { TEST_RULES, writeTestConfiguration } from "./testing.ts";

setDefaultTimeout(30_000); // on a small machine, processes start slowly

const root = await mkdtemp(join(tmpdir(), "server-"));
afterAll(() => rm(root, { recursive: true, force: true }));

let folders = 0;
function newConfiguration(...clients: Parameters<typeof writeTestConfiguration>[1] & {}): Promise<string> {
  return writeTestConfiguration(join(root, String(++folders)), clients);
}

const CONFIG_FILE = await newConfiguration(TEST_RULES);

function start(environment: Record<string, string>) {
  return Bun.spawn([process.execPath, join(import.meta.dir, "main.ts")], {
    env: { PATH: process.env.PATH, CONFIG_FILE, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

const used = await usedPort();
const missing = join(root, "missing.yaml");

test.concurrent.each([
  [{ PORT: String(used) }, `Cannot listen on PORT="${used}": it is in use`],
  [{ PORT: "abc" }, 'Cannot use PORT="abc": expected a whole number from 0 to 65535'],
  [{ GPUS: "-1" }, 'Cannot use GPUS="-1": expected a whole number from 0 to 1024'],
  [
    { GPU_MEMORY: "16GB" },
    'Cannot use GPU_MEMORY="16GB": expected the memory of one GPU: MB, or a quantity such as 16G',
  ],
  [{ LEASE_TIME: "0" }, 'Cannot use LEASE_TIME="0": expected seconds from 0.1 to 3600'],
  [{ CONFIG_FILE: missing }, `Cannot read ${missing}: ENOENT: no such file or directory, open '${missing}'`],
])("the pool server rejects %j in one line and exits with 2", async (environment, message) => {
  await using server = start(environment);
  const [status, stdout, stderr] = await Promise.all([server.exited, server.stdout.text(), server.stderr.text()]);
  expect([status, stdout, stderr]).toEqual([2, "", `bitfusion-server: ${message}\n`]);
});

test.concurrent("the pool server has the configured GPUs, and exits with 0 on SIGTERM", async () => {
  await using server = start({ PORT: "0", GPUS: "2", GPU_MEMORY: "8000", SERVER_NAME: "gpu-1", LEASE_TIME: "1.001" });
  const log = server.stdout.pipeThrough(new TextDecoderStream()).values();
  const { message, port } = JSON.parse((await log.next()).value ?? "");
  expect(message).toBe("Pool server started");
  using channel = connectTls(`127.0.0.1:${port}`, TEST_CLIENT);
  const client = createClient(PoolService, channel.transport);
  const { inventory } = await client.getInventory({});
  expect(inventory?.hostname).toBe("gpu-1");
  expect(inventory?.gpus).toMatchObject([{ memoryMb: 8000n }, { memoryMb: 8000n }]);
  expect(new Set(inventory?.gpus.map(({ id }) => id)).size).toBe(2);
  const { timeToLive } = await client.claim({ gpus: 1, share: { case: "percent", value: 1 } });
  expect(timeToLive).toMatchObject({ seconds: 1n, nanos: 1_000_000 });
  server.kill("SIGTERM");
  expect(await server.exited).toBe(0);
});

/** Starts a server with a configuration of its own, and a client of it. */
async function startConfigured(
  configuration: string,
  {
    identity = TEST_CLIENT,
    environment: more = {},
  }: { identity?: TlsIdentity; environment?: Record<string, string> } = {},
) {
  const environment = { CONFIG_FILE: configuration, PORT: "0", GPUS: "2", SERVER_NAME: "gpu-1", ...more };
  const program = startProgram("server/main.ts", { environment, ready: "Pool server started" });
  const { port } = await program.started;
  const channel = connectTls(`127.0.0.1:${port}`, identity);
  return {
    program,
    client: createClient(PoolService, channel.transport),
    async [Symbol.asyncDispose]() {
      channel[Symbol.dispose]();
      await program[Symbol.asyncDispose]();
    },
  };
}

test.concurrent("the pool server knows its leases after it was killed", async () => {
  const path = await newConfiguration(TEST_RULES);
  const environment = { LEASES_FILE: join(root, "leases.json") };
  const request = { gpus: 1, share: { case: "percent", value: 30 } } as const;
  let leaseId = "";
  {
    await using killed = await startConfigured(path, { environment });
    leaseId = (await killed.client.claim(request)).lease?.id ?? "";
    const { lease: released } = await killed.client.claim(request);
    await killed.client.release({ leaseId: released?.id ?? "" });
    await killed.program.kill();
  }
  await using server = await startConfigured(path, { environment });
  await server.client.renew({ leaseId });
  const { leases } = await server.client.listLeases({});
  expect(leases.map(({ id }) => id)).toEqual([leaseId]);
});

test.concurrent("the pool server takes a changed configuration, and keeps the last valid one", async () => {
  const path = await newConfiguration(TEST_RULES);
  await using server = await startConfigured(path);
  const updates = server.client.watchInventory({})[Symbol.asyncIterator]();
  expect((await updates.next()).value?.inventory?.gpus).toHaveLength(2);
  const valid = await readFile(path, "utf8");
  await writeFile(path, valid.replace("gpus: all", "gpus: [0-x]"));
  const { reason } = await server.program.logged(({ message }) => message.startsWith("Cannot use the configuration"));
  expect(reason).toStartWith(`Cannot use ${path}: clients.0.gpus: expected all, or a list of numbers and ranges`);
  await writeFile(path, valid.replace("gpus: all", "gpus: [1]"));
  for (;;) {
    const { value } = await updates.next();
    if (value?.inventory?.gpus.length === 1) break;
  }
  await writeFile(path, valid.replace(TEST_RULES.name, "another"));
  await server.program.logged(({ clients }) => isDeepStrictEqual(clients, ["another"]));
  const ended = await Array.fromAsync({ [Symbol.asyncIterator]: () => updates }).then(String, (error) => error.name);
  expect(ended).toBe("ConnectError");
  expect(await server.client.getInventory({}).then(String, (error) => error.message)).toBe(
    `[permission_denied] This server's configuration has no client "${TEST_RULES.name}"`,
  );
});

async function runServer(...args: string[]) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...args], {
    env: { PATH: process.env.PATH },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [status, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { status, output: stdout + stderr };
}

test.concurrent("a server with a certificate of the certificate command accepts a token of the token command", async () => {
  const folder = join(root, "pool");
  const ca = ["--ca", join(folder, "ca")];
  const token = join(folder, "token");
  expect(await runServer("token", token, ...ca, "--client", "a", "--server", "127.0.0.1:1")).toEqual({
    status: 0,
    output: "",
  });
  expect(await runServer("certificate", join(folder, "gpu-1"), ...ca, "--host", "127.0.0.1")).toEqual({
    status: 0,
    output: "",
  });
  const path = join(folder, "gpu-1/server.yaml");
  const tls = { ca: "ca.crt", cert: "tls.crt", key: "tls.key" };
  await writeFile(path, stringify({ tls, clients: [{ name: "a", gpus: [0], podUnits: 10 }] }));
  const identityOf = async (name: string) => {
    const { certificate, key } = Bun.YAML.parse(await readFile(join(token, name), "utf8")) as Record<string, string>;
    return { cert: certificate ?? "", key: key ?? "", ca: await readFile(join(token, "ca.crt"), "utf8") };
  };
  await using server = await startConfigured(path, { identity: await identityOf("client.yaml") });
  expect((await server.client.getInventory({})).inventory?.gpus).toHaveLength(1);
  const { port } = await server.program.started;
  using pods = connectTls(`127.0.0.1:${port}`, await identityOf("pod-client.yaml"));
  const error = await createClient(PoolService, pods.transport)
    .listLeases({})
    .then(String, ({ message }) => message);
  expect(error).toBe('[permission_denied] Pods of "a" may not call this method');
  using stranger = connectTls(`127.0.0.1:${port}`, {
    ...(await createTestClient("a")),
    ca: await readFile(join(token, "ca.crt"), "utf8"),
  });
  await createClient(PoolService, stranger.transport).getInventory({}, { timeoutMs: 5000 }).catch(String);
  expect(await server.program.logged(({ message }) => message === "Connection refused")).toBeDefined();
});

test.concurrent.each([
  [
    ["token", join(root, "x"), "--ca", join(root, "x"), "--client", "a", "--server", "a:1"],
    "Cannot write to the folder of the CA",
  ],
  [["token", "x", "--ca", "y", "--client", "a b", "--server", "a:1"], "Expected 1 to 63 letters, digits, dots, dashes"],
  [["token", "x", "--ca", "y", "--client", "a", "--server", "a"], "Expected host:port"],
  [["token", "x", "--ca", "y", "--client", "a"], "required option '--server <host:port>' not specified"],
  [["serve"], "too many arguments"],
])("bitfusion-server rejects %j and exits with 2", async (args, message) => {
  const { status, output } = await runServer(...args);
  expect(status).toBe(2);
  expect(output).toContain(message);
});
