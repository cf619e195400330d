import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { createClient } from "@connectrpc/connect";
import { stringify } from "yaml";
import { connectTls, connectUnix } from "../grpc/client.ts";
import { startProgram } from "../program/processes/child_program.ts";
import { bundle, usedPort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { PodResourcesLister } from "../proto/gen/podresources/v1/api_pb.ts";
import { createTestClient, TEST_CLIENT } from "../tls/testing.ts";
import { buildStandIn, HAS_COMPILER, writeStandIn } from "./gpus/nvidia/testing/nvml_stand_in.ts";
import { TEST_RULES, writeTestConfiguration } from "./testing.ts";

setDefaultTimeout(30_000); // on a small machine, processes start slowly

const SERVER = await bundle("server/main.ts");
const root = await mkdtemp(join(tmpdir(), "server-"));
afterAll(() => rm(root, { recursive: true, force: true }));

let folders = 0;
/** Writes the configuration of one server, see {@link writeTestConfiguration}. */
function newConfiguration(parts?: object): Promise<string> {
  return writeTestConfiguration(join(root, String(++folders)), parts);
}

async function runToEnd(CONFIG_FILE: string) {
  await using server = Bun.spawn([process.execPath, SERVER], {
    env: { PATH: process.env.PATH, CONFIG_FILE },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [status, stdout, stderr] = await Promise.all([server.exited, server.stdout.text(), server.stderr.text()]);
  return { status, stdout, stderr };
}

const used = await usedPort();

test.concurrent.each<[string, object, string]>([
  ["used port", { listen: { port: used } }, `Cannot listen on listen.port="${used}": it is in use`],
  [
    "address of another machine",
    { listen: { host: "192.0.2.1" } },
    'Cannot listen on listen.host="192.0.2.1" and listen.port="56001": the machine does not have this address',
  ],
  [
    "wrong value",
    { leases: { timeToLive: 300 } },
    "Cannot use CONFIG: leases.timeToLive is 300: expected a duration from 100ms to 1h, such as 5m or 1m30s",
  ],
  [
    "machine without NVIDIA's driver",
    { gpus: { nvidia: { library: "/nowhere/libnvidia-ml.so.1" } } },
    "Cannot load /nowhere/libnvidia-ml.so.1: expected NVIDIA's driver on this machine, and in a container its libraries, as with docker run --gpus all",
  ],
])("the pool server rejects a %s in one line and exits with 2", async (_, parts, message) => {
  const path = await newConfiguration(parts);
  const expected = message.replace("CONFIG", path);
  expect(await runToEnd(path)).toEqual({ status: 2, stdout: "", stderr: `bitfusion-server: ${expected}\n` });
});

test.concurrent("the pool server names a configuration that does not exist", async () => {
  const path = join(root, "missing.yaml");
  const message = `Cannot read ${path}: ENOENT: no such file or directory, open '${path}'`;
  expect(await runToEnd(path)).toEqual({ status: 2, stdout: "", stderr: `bitfusion-server: ${message}\n` });
});

/** Starts a server, and a client of it. */
async function start(configuration: string, identity = TEST_CLIENT) {
  const environment = { CONFIG_FILE: configuration };
  const program = startProgram(SERVER, { environment, ready: "Pool server started" });
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
  const path = await newConfiguration({ state: "state" });
  const request = { gpus: 1, share: { case: "percent", value: 30 } } as const;
  let leaseId = "";
  {
    await using killed = await start(path);
    leaseId = (await killed.client.claim(request)).lease?.id ?? "";
    const { lease: released } = await killed.client.claim(request);
    await killed.client.release({ leaseId: released?.id ?? "" });
    await killed.program.kill();
  }
  await using server = await start(path);
  expect((await server.client.renewLeases({ leases: [{ leaseId }] })).renewals[0]?.timeToLive).toBeDefined();
  const { leases } = await server.client.listLeases({});
  expect(leases.map(({ id }) => id)).toEqual([leaseId]);
});

test.concurrent("the pool server has the configured GPUs, and exits with 0 on SIGTERM", async () => {
  const simulated = { count: 2, memory: "8G", model: "Tesla T4", cudaVersion: "13.0", driverVersion: "580.1" };
  const path = await newConfiguration({
    name: "gpu-1",
    gpus: { simulated },
    hasRdma: true,
    leases: { timeToLive: "1.001s" },
  });
  await using server = await start(path);
  const { inventory } = await server.client.getInventory({});
  const gpu = { model: "Tesla T4", memoryMb: 8000n, healthy: true };
  const facts = { hostname: "gpu-1", hasRdma: true, cudaVersion: "13.0", driverVersion: "580.1" };
  expect(inventory).toMatchObject({ ...facts, gpus: [gpu, gpu] });
  expect(new Set(inventory?.gpus.map(({ id }) => id)).size).toBe(2);
  const { timeToLive } = await server.client.claim({ gpus: 1, share: { case: "percent", value: 1 } });
  expect(timeToLive).toMatchObject({ seconds: 1n, nanos: 1_000_000 });
  process.kill(server.program.pid, "SIGTERM");
  expect(await server.program.exited).toBe(0);
});

test.skipIf(!HAS_COMPILER).concurrent("the pool server reports NVIDIA GPUs, and why one is unhealthy", async () => {
  const folder = await mkdtemp(join(root, "nvidia-"));
  const state = join(folder, "state");
  const gpu = { uuid: "GPU-8dee6ce5-8b1e-4d5c-a8c6-1d7ee2e6a6ab", memory: 16_106_127_360, name: "Tesla T4" };
  await writeStandIn(state, { system: { driver: "550.54.15", cuda: 12_040 }, gpus: [gpu] });
  const gpus = { nvidia: { library: await buildStandIn(folder, state) } };
  await using server = await start(await newConfiguration({ gpus, clients: [{ ...TEST_RULES, gpus: [gpu.uuid] }] }));
  const updates = server.client.watchInventory({})[Symbol.asyncIterator]();
  const { inventory } = (await updates.next()).value ?? {};
  const expected = { id: gpu.uuid, model: "Tesla T4", memoryMb: 16_106n, healthy: true, problem: "" };
  expect(inventory).toMatchObject({ cudaVersion: "12.4", driverVersion: "550.54.15", gpus: [expected] });
  await writeStandIn(state, { gpus: [gpu], xids: [{ gpu: 0, number: 79 }] });
  for (;;) {
    const [now] = (await updates.next()).value?.inventory?.gpus ?? [];
    if (!now?.healthy) {
      expect(now).toMatchObject({ ...expected, healthy: false, problem: "xid-79" });
      break;
    }
  }
});

test.concurrent("the pool server takes a changed configuration, and keeps the last valid one", async () => {
  const path = await newConfiguration({ gpus: { simulated: { count: 2 } } });
  await using server = await start(path);
  const updates = server.client.watchInventory({})[Symbol.asyncIterator]();
  expect((await updates.next()).value?.inventory?.gpus).toHaveLength(2);
  const valid = await readFile(path, "utf8");
  await writeFile(path, valid.replace("gpus: all", "gpus: [0-x]"));
  const { reason } = await server.program.logged(({ message }) => message.startsWith("Cannot use the configuration"));
  expect(reason).toStartWith(`Cannot use ${path}: clients.0.gpus: expected all, a list of UUIDs, or a list of numbers`);
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

test.concurrent("the pool server tells on a socket which pods use its GPUs", async () => {
  const socket = join(root, "kubelet.sock");
  await using server = await start(await newConfiguration({ podResources: { socket } }));
  const owner = { namespace: "team", pod: "train", container: "main" };
  await server.client.claim({ owner, gpus: 1, share: { case: "percent", value: 30 } });
  using channel = connectUnix(socket);
  const { podResources } = await createClient(PodResourcesLister, channel.transport).list({});
  const devices = [{ resourceName: "nvidia.com/gpu", deviceIds: ["gpu-server:0/0"] }];
  expect(podResources).toMatchObject([{ namespace: "team", name: "train", containers: [{ name: "main", devices }] }]);
});

test.concurrent("the pool server is drained while its configuration says so, also after a restart", async () => {
  const path = await newConfiguration({ state: "state" });
  const text = await readFile(path, "utf8");
  const owner = { namespace: "team", pod: "train", container: "main" };
  {
    await using server = await start(path);
    await server.client.claim({ owner, gpus: 1, share: { case: "percent", value: 30 } });
    await writeFile(path, `${text}drain: true\n`);
    const draining = await server.program.logged(({ message }) => message.startsWith("Draining: "));
    expect(draining).toMatchObject({ leases: 1, owners: [owner] });
  }
  await using server = await start(path);
  expect((await server.client.getInventory({})).inventory?.gpus).toMatchObject([{ problem: "draining" }]);
  await writeFile(path, text);
  await server.program.logged(({ message }) => message.startsWith("Draining ended"));
  expect((await server.client.getInventory({})).inventory?.gpus).toMatchObject([{ healthy: true }]);
});

test.concurrent("the pool server logs which changed parts need a restart, and takes over only the others", async () => {
  const path = await newConfiguration({ gpus: { simulated: { count: 2 } } });
  await using server = await start(path);
  const changed = (await readFile(path, "utf8")).replace("count: 2", "count: 3").replace("gpus: all", "gpus: [1-2]");
  await writeFile(path, changed);
  const { parts } = await server.program.logged(({ message }) => message.startsWith("Restart the server"));
  expect(parts).toEqual(["gpus"]);
  await server.program.logged(({ message }) => message === "Clients changed");
  expect((await server.client.getInventory({})).inventory?.gpus.map(({ id }) => id)).toEqual(["gpu-server:0/1"]);
});

async function runServer(...args: string[]) {
  const child = Bun.spawn([process.execPath, SERVER, ...args], {
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
  const configuration = {
    listen: { port: 0 },
    gpus: { simulated: { count: 2 } },
    tls: { ca: "ca.crt", cert: "tls.crt", key: "tls.key" },
    clients: [{ name: "a", gpus: [0], podUnits: 10 }],
  };
  await writeFile(path, stringify(configuration));
  const identityOf = async (name: string) => {
    const { certificate, key } = Bun.YAML.parse(await readFile(join(token, name), "utf8")) as Record<string, string>;
    return { cert: certificate ?? "", key: key ?? "", ca: await readFile(join(token, "ca.crt"), "utf8") };
  };
  await using server = await start(path, await identityOf("client.yaml"));
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
