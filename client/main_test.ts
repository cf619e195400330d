import { expect, setDefaultTimeout, test } from "bun:test";
import { once } from "node:events";
import { mkdir, mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { serveGrpc } from "../grpc/server.ts";
import { formatLeases, type LeaseProof } from "../pool/lease_folder.ts";
import { formatClientYaml } from "../pool/token/token.ts";
import { bundle, freePort } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import {
  CAN_ISOLATE,
  createTestDataPlane,
  type RunningPoolServer,
  startPoolServer,
  TEST_HOLDER,
} from "../server/testing.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { takeLease } from "./container/testing.ts";

const CLIENT = [process.execPath, await bundle("client/main.ts")];
setDefaultTimeout(30_000); // on a small machine, processes start slowly

const CLIENT_YAML = formatClientYaml("cluster", TEST_CLIENT);
const OTHER_OWNER = { namespace: "", pod: "other", container: "" };

/** A shell script that runs until the client exits. */
const RUN_UNTIL_CLIENT_EXITS = "echo ready; while kill -0 $PPID 2>/dev/null; do sleep 0.1; done";

interface StartOptions {
  /** The servers in servers.conf. Undefined: the file does not exist. */
  servers?: readonly string[];
  /** Content of client.yaml in the configuration folder. Null: the file does not exist. */
  clientYaml?: string | null;
  /** Content of client.yaml in the home. Undefined: the file does not exist. */
  homeYaml?: string;
  environment?: Record<string, string>;
  /** Whether the client runs as process 1 of its own pid namespace. */
  asProcess1?: boolean;
}

/** Runs a program as process 1 of its own pid namespace, as in a container. */
const AS_PROCESS_1 = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
const canBeProcess1 = Bun.spawnSync([...AS_PROCESS_1, "true"], { stdio: ["ignore", "ignore", "ignore"] }).success;
if (!canBeProcess1) process.stderr.write("Tests of the client as process 1 are skipped: they need Linux and root\n");

const testProcess1 = test.skipIf(!canBeProcess1).concurrent;

/** Starts the client as a process with its own home and configuration. */
async function start(args: readonly string[], options: StartOptions = {}) {
  const { servers, clientYaml = CLIENT_YAML, homeYaml, environment, asProcess1 = false } = options;
  const folder = await mkdtempDisposable(join(tmpdir(), "client-"));
  const [home, config] = [join(folder.path, "home"), join(folder.path, "config")];
  await mkdir(join(home, ".bitfusion"), { recursive: true });
  await mkdir(config);
  if (servers) {
    await writeFile(
      join(config, "servers.conf"),
      JSON.stringify({ servers: servers.map((a) => ({ addresses: [a] })) }),
    );
  }
  await writeFile(join(config, "ca.crt"), TEST_CLIENT.ca);
  if (clientYaml !== null) await writeFile(join(config, "client.yaml"), clientYaml);
  if (homeYaml !== undefined) await writeFile(join(home, ".bitfusion/client.yaml"), homeYaml);
  const child = Bun.spawn([...(asProcess1 ? AS_PROCESS_1 : []), ...CLIENT, ...args], {
    env: { PATH: process.env.PATH, HOME: home, BITFUSION_CONFIG_DIR: config, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return {
    config,
    home,
    stdout: createTranscript(child.stdout),
    stderr: createTranscript(child.stderr),
    async kill(signal: NodeJS.Signals) {
      if (!asProcess1) return child.kill(signal);
      const pid = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
      process.kill(Number(pid), signal);
    },
    exited: child.exited,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      await folder.remove();
    },
  };
}

/** Collects the text of a stream. */
function createTranscript(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const chunks = stream.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let text = "";
  const read = async () => {
    const { done, value } = await chunks.next();
    text += value ?? "";
    return !done;
  };
  return {
    /** Resolves once the text contains `expected`. */
    async until(expected: string): Promise<void> {
      while (!text.includes(expected)) {
        if (!(await read())) throw new Error(`The stream ended without "${expected}": ${text}`);
      }
    },
    /** Resolves with the complete text once the stream has ended. */
    async text(): Promise<string> {
      while (await read());
      return text;
    },
  };
}

/** Listens for one connection, which a command holds open until it ends. */
async function listen() {
  const listener = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  const closed = once(listener, "connection").then(([socket]: Socket[]) => socket && once(socket.resume(), "close"));
  await once(listener, "listening");
  return {
    port: (listener.address() as AddressInfo).port,
    closed,
    [Symbol.asyncDispose]: async () => void listener.close(),
  };
}

/** Runs the client to its end. Returns its status and its output. */
async function outcome(args: readonly string[], options: StartOptions = {}) {
  await using client = await start(args, options);
  const [stdout, stderr] = await Promise.all([client.stdout.text(), client.stderr.text()]);
  return { status: await client.exited, stdout, stderr };
}

function run(server: RunningPoolServer, ...args: string[]) {
  return outcome(["run", ...args], { servers: [server.address] });
}

/** Claims the complete first GPU of a server. Returns a function that releases it. */
function fill({ ledger }: RunningPoolServer): () => void {
  const result = ledger.claim({ holder: TEST_HOLDER, owner: OTHER_OWNER, share: { gpus: 1, percent: 100 } });
  if (!("lease" in result)) throw new Error("The GPU is not free");
  return () => ledger.release(result.lease.id);
}

test.concurrent("run sets BITFUSION_GPUS, passes on output and status, and releases the lease", async () => {
  await using server = await startPoolServer();
  const result = await run(server, "-n", "1", "-p", "0.3", "--", "sh", "-c", "echo $BITFUSION_GPUS; exit 7");
  expect(result).toEqual({ status: 7, stdout: "server/0=30\n", stderr: "bitfusion: Holding server/0 at 30 %\n" });
  expect(server.ledger.leases()).toEqual([]);
});

test.concurrent.each<[description: string, environment: Record<string, string>, expected: string]>([
  ["in front of the command's own", { BITFUSION_LIBRARY_PATH: "/client", LD_LIBRARY_PATH: "/a:/b" }, "/client:/a:/b\n"],
  ["alone, without an empty path", { BITFUSION_LIBRARY_PATH: "/client", LD_LIBRARY_PATH: "" }, "/client\n"],
  ["not at all if there are none", { LD_LIBRARY_PATH: "/a" }, "/a\n"],
])("run puts the client's libraries in LD_LIBRARY_PATH %s", async (_, environment, expected) => {
  await using server = await startPoolServer();
  const args = ["run", "-n", "1", "printenv", "LD_LIBRARY_PATH"];
  await using client = await start(args, { servers: [server.address], environment });
  expect(await client.exited).toBe(0);
  expect(await client.stdout.text()).toBe(expected);
});

test.concurrent("run holds the lease as the container while the command runs", async () => {
  await using server = await startPoolServer();
  const environment = { BITFUSION_NAMESPACE: "default", BITFUSION_POD: "a", BITFUSION_CONTAINER: "main" };
  await using client = await start(["run", "-n", "1", "-m", "1120", "sh", "-c", RUN_UNTIL_CLIENT_EXITS], {
    servers: [server.address],
    environment,
  });
  await client.stdout.until("ready");
  expect(server.ledger.leases()).toMatchObject([
    { owner: { namespace: "default", pod: "a", container: "main" }, gpus: [{ gpuId: "server/0", units: 7 }] },
  ]);
});

test.concurrent("run claims 2 GPUs from two servers that have one each", async () => {
  await using a = await startPoolServer({ hostname: "a" });
  await using b = await startPoolServer({ hostname: "b" });
  const args = ["run", "-n", "2", "-p", "0.5", "--", "printenv", "BITFUSION_GPUS"];
  expect(await outcome(args, { servers: [a.address, b.address] })).toMatchObject({
    status: 0,
    stdout: "a/0=50,b/0=50\n",
    stderr: "bitfusion: Holding a/0 at 50 %, b/0 at 50 %\n",
  });
  expect([a.ledger.leases(), b.ledger.leases()]).toEqual([[], []]);
});

const SPECIAL_ARGUMENTS = [
  "",
  "a b",
  "$HOME",
  "*",
  "`id`",
  "; exit 3",
  "'",
  '"',
  "\\",
  "a\nb",
  "é",
  "-n",
  "--",
  "--help",
];

test.concurrent.each([
  ["after --", ["--"]],
  ["without --", []],
])("run passes on arguments unchanged, %s", async (_, separator) => {
  await using server = await startPoolServer();
  const { status, stdout } = await run(server, "-n", "1", ...separator, "printf", "%s\\0", ...SPECIAL_ARGUMENTS);
  expect(status).toBe(0);
  expect(stdout.split("\0").slice(0, -1)).toEqual(SPECIAL_ARGUMENTS);
});

test.concurrent("run exits with 128 + n if signal n ends the command", async () => {
  await using server = await startPoolServer();
  expect(await run(server, "-n", "1", "--", "sh", "-c", "kill -KILL $$")).toMatchObject({ status: 137 });
});

test.concurrent.each([
  ["127 if the command does not exist", "no-such-command", 127],
  ["126 if the command cannot be run", import.meta.path, 126],
])("run exits with %s, and releases the lease", async (_, command, status) => {
  await using server = await startPoolServer();
  const result = await run(server, "-n", "1", "--", command);
  expect(result.status).toBe(status);
  expect(result.stderr).toContain(`bitfusion: Cannot run "${command}": `);
  expect(server.ledger.leases()).toEqual([]);
});

const SIGNALS = ["INT", "HUP", "QUIT", "USR1", "USR2", "ALRM", "CONT", "WINCH", "TERM"] as const;
const TRAPS = SIGNALS.map((name) => `trap "echo ${name}${name === "TERM" ? "; exit 42" : ""}" ${name}`).join("; ");

async function testSignals(asProcess1: boolean): Promise<void> {
  await using server = await startPoolServer();
  await using client = await start(["run", "-n", "1", "--", "sh", "-c", `${TRAPS}; ${RUN_UNTIL_CLIENT_EXITS}`], {
    servers: [server.address],
    asProcess1,
  });
  await client.stdout.until("ready\n");
  for (const name of SIGNALS) {
    await client.kill(`SIG${name}`);
    await client.stdout.until(`${name}\n`);
  }
  expect(await client.exited).toBe(42);
  expect(await client.stdout.text()).toBe(["ready", ...SIGNALS, ""].join("\n"));
  expect(server.ledger.leases()).toEqual([]);
}

test.concurrent("run passes on signals to the command and releases the lease", () => testSignals(false));
testProcess1("run as process 1 passes on signals to the command and releases the lease", () => testSignals(true));

/** Starts ten processes that end soon after their parent, and waits up to 5 s until neither they nor zombies of them are left. */
const ORPHANS = `
  for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.2 &); done
  count() { cat /proc/[0-9]*/comm 2>/dev/null | grep -c "^sleep$"; }
  echo "$(count) orphans"
  for i in 1 2 3 4 5 6 7 8 9 10; do [ $(count) = 0 ] && exit 7; sleep 0.5; done
  cat /proc/[0-9]*/stat; exit 1`;

testProcess1("run as process 1 leaves no zombies of orphans, and exits with the command's status", async () => {
  await using server = await startPoolServer();
  const options = { servers: [server.address], asProcess1: true };
  const { stdout, status } = await outcome(["run", "-n", "1", "--", "sh", "-c", ORPHANS], options);
  expect([stdout, status]).toEqual(["10 orphans\n", 7]);
});

testProcess1.each([
  ["128 + n if signal n ends the command", "kill -KILL $$", 137],
  ["the status of a command that ends at once", "exit 3", 3],
])("run as process 1 exits with %s", async (_, script, status) => {
  await using server = await startPoolServer();
  const options = { servers: [server.address], asProcess1: true };
  expect(await outcome(["run", "-n", "1", "--", "sh", "-c", script], options)).toMatchObject({ status });
});

testProcess1("run as process 1 ends what the command leaves behind before it releases the lease", async () => {
  await using listener = await listen();
  await using server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    routes: (router) =>
      router.service(PoolService, {
        claim: () => ({ lease: { id: "a" }, timeToLive: durationFromMs(60_000) }),
        async release() {
          await listener.closed;
          return {};
        },
      }),
  });
  const command = `exec 3<>/dev/tcp/127.0.0.1/${listener.port}; (trap "" TERM HUP; read <&3) & exit 5`;
  const { status, stderr } = await outcome(["run", "-n", "1", "--", "bash", "-c", command], {
    servers: [`127.0.0.1:${server.port}`],
    asProcess1: true,
  });
  expect(status).toBe(5);
  expect(stderr).not.toContain("Cannot release");
});

test.concurrent("run waits while the pool is full, and continues when another client releases its lease", async () => {
  await using server = await startPoolServer();
  const release = fill(server);
  await using client = await start(["run", "-n", "1", "--", "echo", "done"], { servers: [server.address] });
  await client.stderr.until("bitfusion: Waiting for the pool: 0 of 1 requested GPUs are available\n");
  release();
  expect(await client.stdout.text()).toBe("done\n");
  expect(await client.exited).toBe(0);
});

test.concurrent.each<[string, string[], Record<string, string>]>([
  ["--timeout", ["--timeout", "0.1"], { BITFUSION_TIMEOUT: "60" }],
  ["BITFUSION_TIMEOUT", [], { BITFUSION_TIMEOUT: "0.1" }],
])("run gives up after the timeout in %s", async (_, flags, environment) => {
  await using server = await startPoolServer();
  fill(server);
  const args = ["run", "-n", "1", ...flags, "--", "echo", "done"];
  const { status, stdout, stderr } = await outcome(args, { servers: [server.address], environment });
  expect([status, stdout]).toEqual([1, ""]);
  expect(stderr).toEndWith("bitfusion: Waited 0.1 s for the pool: 0 of 1 requested GPUs are available\n");
});

test.concurrent.each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const)("run stops waiting on %s, exits with %d and does not run the command", async (signal, status) => {
  await using server = await startPoolServer();
  fill(server);
  await using client = await start(["run", "-n", "1", "--", "echo", "done"], { servers: [server.address] });
  await client.stderr.until("Waiting for the pool");
  await client.kill(signal);
  expect(await client.exited).toBe(status);
  expect(await client.stderr.text()).toEndWith(`\nbitfusion: Gave up waiting for the pool: ${signal}\n`);
  expect(await client.stdout.text()).toBe("");
  expect(server.ledger.leases()).toMatchObject([{ owner: OTHER_OWNER }]);
});

test.concurrent("run fails immediately if the pool can never satisfy the claim", async () => {
  await using server = await startPoolServer();
  expect(await run(server, "-n", "2", "--", "echo", "done")).toEqual({
    status: 1,
    stdout: "",
    stderr: "bitfusion: The pool can never satisfy the claim: 1 GPUs are suitable, 2 are requested\n",
  });
});

/** Takes a lease as the driver does, and returns what proves it. */
function lease(server: RunningPoolServer, gpuId: string, percent: number): LeaseProof {
  const share = { gpus: 1, percent };
  const result = server.ledger.claim({
    holder: TEST_HOLDER,
    owner: OTHER_OWNER,
    share,
    matches: ({ id }) => id === gpuId,
  });
  if (!("lease" in result)) throw new Error(`The server has no ${percent} % of ${gpuId}`);
  return { address: server.address, leaseId: result.lease.id, secret: result.lease.secret };
}

/** The folder of a container's leases, as the driver writes it, and the variables that the webhook and the driver set. */
async function leaseFolder(...claims: (readonly LeaseProof[])[]) {
  const folder = await mkdtempDisposable(join(tmpdir(), "leases-"));
  const write = async (claim: number, leases: readonly LeaseProof[]) => {
    await mkdir(join(folder.path, `claim-${claim}`), { recursive: true });
    await writeFile(join(folder.path, `claim-${claim}`, "ca.crt"), TEST_CLIENT.ca);
    await writeFile(
      join(folder.path, `claim-${claim}`, "leases.json"),
      formatLeases({ containers: [], leases: [...leases] }),
    );
  };
  for (const [index, leases] of claims.entries()) await write(index, leases);
  return {
    environment: { BITFUSION_ALLOCATION: "claims", BITFUSION_LEASES: folder.path },
    write,
    [Symbol.asyncDispose]: () => folder.remove(),
  };
}

test.concurrent("run uses the leases that the driver holds, of several claims and servers, and neither takes nor releases one", async () => {
  await using a = await startPoolServer({ hostname: "a", gpus: 3 });
  await using b = await startPoolServer({ hostname: "b", gpus: 2 });
  await using folder = await leaseFolder([lease(a, "a/2", 30), lease(b, "b/1", 30)], [lease(a, "a/0", 30)]);
  const args = ["run", "-n", "3", "-p", "0.3", "--filter", "server.has-rdma=yes", "printenv", "BITFUSION_GPUS"];
  const result = await outcome(args, { clientYaml: null, environment: folder.environment });
  expect(result).toMatchObject({ status: 0, stdout: "a/2=30,b/1=30,a/0=30\n" });
  expect([...a.ledger.leases(), ...b.ledger.leases()]).toHaveLength(3);
});

test
  .skipIf(!CAN_ISOLATE)
  .concurrent("run gives the command an address that leads to the GPUs of each lease", async () => {
    await using plane = await createTestDataPlane({ CUDA_VISIBLE_DEVICES: "{gpuUuids}" });
    await using server = await startPoolServer({ gpus: 2, dataPlane: plane.configuration });
    await using folder = await leaseFolder([
      await takeLease(server.address, "server/1"),
      await takeLease(server.address, "server/0"),
    ]);
    const ask = `for address in \${BITFUSION_GATE_ADDRESS//,/ }; do
    exec 3<>/dev/tcp/\${address/://}; echo environment >&3; read -r line <&3; echo "$line"
  done`;
    const { stdout } = await outcome(["run", "-n", "2", "--", "bash", "-c", ask], folder);
    const environments = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(environments.map(({ CUDA_VISIBLE_DEVICES: gpus }) => gpus)).toEqual(["server/1", "server/0"]);
  });

test.concurrent("run sets no address where servers forward no calls", async () => {
  await using server = await startPoolServer();
  await using folder = await leaseFolder([lease(server, "server/0", 50)]);
  const args = ["run", "-n", "1", "printenv", "BITFUSION_GATE_ADDRESS"];
  expect(await outcome(args, folder)).toMatchObject({ status: 1, stdout: "" });
});

test.concurrent("run ends the command at once when the driver's lease ends", async () => {
  await using server = await startPoolServer();
  const proof = lease(server, "server/0", 50);
  await using folder = await leaseFolder([proof]);
  await using client = await start(["run", "-n", "1", "--", "sh", "-c", RUN_UNTIL_CLIENT_EXITS], folder);
  await client.stdout.until("ready");
  server.ledger.release(proof.leaseId);
  expect(await client.exited).toBe(143);
  expect(await client.stderr.text()).toContain(
    `bitfusion: A lease is lost: [not_found] ${server.address}: No such lease: it has ended\n`,
  );
});

test.concurrent("run waits for a server that does not know the lease yet, and for one that is away", async () => {
  await using server = await startPoolServer({ gpus: 2 });
  await using folder = await leaseFolder([{ address: server.address, leaseId: "unknown", secret: "" }]);
  await using client = await start(["run", "-n", "1", "printenv", "BITFUSION_GPUS"], folder);
  await client.stderr.until(`Waiting for the pool: [not_found] ${server.address}: No such lease: it has ended`);
  const address = `127.0.0.1:${await freePort()}`;
  await folder.write(0, [{ address, leaseId: "unknown", secret: "" }]);
  await client.stderr.until(`Waiting for the pool: [unavailable] ${address}`);
  await folder.write(0, [lease(server, "server/1", 50)]);
  expect(await client.stdout.text()).toBe("server/1=50\n");
  expect(await client.exited).toBe(0);
});

test.concurrent("the command goes on while a server restarts and the driver takes the lease again", async () => {
  const first = await startPoolServer({ timeToLive: 20_000 });
  await using folder = await leaseFolder([lease(first, "server/0", 50)]);
  await using client = await start(["run", "-n", "1", "--", "sh", "-c", RUN_UNTIL_CLIENT_EXITS], folder);
  await client.stdout.until("ready");
  await first[Symbol.asyncDispose]();
  await using second = await startPoolServer({ port: first.port, timeToLive: 20_000 });
  const proof = lease(second, "server/0", 50);
  await folder.write(0, [proof]);
  await second.attached(proof.leaseId);
  second.ledger.release(proof.leaseId);
  expect(await client.exited).toBe(143);
  expect(await client.stderr.text()).toContain("A lease is lost: [not_found]");
});

test.concurrent("run ends a command that ignores SIGTERM before the lease of a silent server expires", async () => {
  const timeToLive = 6000;
  let toldAt = 0;
  await using server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER, allowAnonymous: true },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        async *attachLease(_, { signal }) {
          toldAt ||= performance.now();
          yield { gpus: [{ gpuId: "server/0", units: 50 }], timeToLive: durationFromMs(timeToLive) };
          await once(signal, "abort");
        },
      }),
  });
  await using folder = await leaseFolder([{ address: `127.0.0.1:${server.port}`, leaseId: "a", secret: "b" }]);
  await using listener = await listen();
  const command = `trap "" TERM; exec 3<>/dev/tcp/127.0.0.1/${listener.port}; read <&3`;
  await using client = await start(["run", "-n", "1", "--", "bash", "-c", command], folder);
  await listener.closed;
  expect(performance.now() - toldAt).toBeWithin(timeToLive / 2, timeToLive);
  expect(await client.exited).toBe(137);
  expect(await client.stderr.text()).toContain(`A lease is lost: 127.0.0.1:${server.port}: no answer`);
});

test.concurrent("a signal ends the wait for the driver's leases", async () => {
  await using folder = await leaseFolder([{ address: `127.0.0.1:${await freePort()}`, leaseId: "a", secret: "b" }]);
  await using client = await start(["run", "-n", "1", "echo", "done"], folder);
  await client.stderr.until("Waiting for the pool");
  await client.kill("SIGTERM");
  expect(await client.exited).toBe(143);
});

test.concurrent("run gives up the driver's leases after the timeout, and says why", async () => {
  await using server = await startPoolServer();
  await using folder = await leaseFolder([{ address: server.address, leaseId: "a", secret: "b" }]);
  const { status, stderr } = await outcome(["run", "-n", "1", "--timeout", "0.1", "echo", "done"], folder);
  expect(status).toBe(1);
  expect(stderr).toContain(`Waited 0.1 s for the pool: [not_found] ${server.address}: No such lease`);
});

test.concurrent.each<[string, Record<string, string>, string]>([
  ["is not set", {}, "BITFUSION_LEASES is not set: the driver has given this container no GPUs"],
  ["does not exist", { BITFUSION_LEASES: "/nowhere" }, 'Cannot use BITFUSION_LEASES="/nowhere": ENOENT'],
  ["has no folder", { BITFUSION_LEASES: import.meta.dir }, `Cannot use ${import.meta.dir}/`],
])("run exits with 2 if the folder of leases %s", async (_, variables, message) => {
  const environment = { BITFUSION_ALLOCATION: "claims", ...variables };
  const { status, stderr } = await outcome(["run", "-n", "1", "echo", "done"], { environment });
  expect(status).toBe(2);
  expect(stderr).toContain(message);
});

test.concurrent("run exits with 2 if the driver has given the container another number of GPUs than -n", async () => {
  await using server = await startPoolServer({ gpus: 2 });
  await using folder = await leaseFolder([lease(server, "server/0", 50), lease(server, "server/1", 50)]);
  const { status, stderr } = await outcome(["run", "-n", "1", "echo", "done"], folder);
  expect([status, stderr]).toEqual([2, "bitfusion: The driver has given this container 2 GPUs, but -n is 1\n"]);
});

test.concurrent("run reports why the pool rejects a claim, and exits with 2", async () => {
  await using server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    routes: (router) =>
      router.service(PoolService, {
        claim() {
          throw new ConnectError("Unknown filter", Code.InvalidArgument);
        },
      }),
  });
  const servers = [`127.0.0.1:${server.port}`];
  expect(await outcome(["run", "-n", "1", "echo", "done"], { servers })).toEqual({
    status: 2,
    stdout: "",
    stderr: "bitfusion: The pool rejects the claim: Unknown filter\n",
  });
});

test.concurrent("run claims only GPUs that match every filter", async () => {
  await using server = await startPoolServer({ gpus: 3 });
  const filters = ["--filter", "device.name=Simulated GPU", "--filter", "device.id=server/2"];
  expect(await run(server, "-n", "1", ...filters, "printenv", "BITFUSION_GPUS")).toMatchObject({
    status: 0,
    stdout: "server/2=100\n",
  });
});

test.concurrent("run ends the command if a restarted server does not know the lease", async () => {
  const first = await startPoolServer({ timeToLive: 10_000 });
  await using client = await start(["run", "-n", "1", "--", "sh", "-c", RUN_UNTIL_CLIENT_EXITS], {
    servers: [first.address],
  });
  await client.stdout.until("ready");
  await first[Symbol.asyncDispose]();
  await using _second = await startPoolServer({ port: first.port, timeToLive: 10_000 });
  expect(await client.exited).toBe(143);
  expect(await client.stderr.text()).toContain(`bitfusion: The lease on ${first.address} is lost: it has ended\n`);
});

test.concurrent("run ends a command that ignores SIGTERM before the server ends a lease that it cannot renew", async () => {
  const timeToLive = 6000;
  let renewedAt = 0; // the server counts the time to live from here
  await using server = await serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        claim() {
          renewedAt = performance.now();
          return { lease: { id: "a" }, timeToLive: durationFromMs(timeToLive) };
        },
        async renewLeases(_, { signal }) {
          await once(signal, "abort");
          throw new Error("Too late");
        },
        release: () => ({}),
      }),
  });
  await using listener = await listen();
  const command = `trap "" TERM; exec 3<>/dev/tcp/127.0.0.1/${listener.port}; read <&3`;
  await using client = await start(["run", "-n", "1", "--", "bash", "-c", command], {
    servers: [`127.0.0.1:${server.port}`],
  });
  await listener.closed;
  expect(performance.now() - renewedAt).toBeWithin(timeToLive / 2, timeToLive);
  expect(await client.exited).toBe(137);
});

test.concurrent("run exits with 1 if the lease is lost and the command exits with 0", async () => {
  await using server = await startPoolServer({ timeToLive: 10_000 });
  const command = `trap "exit 0" TERM; ${RUN_UNTIL_CLIENT_EXITS}`;
  await using client = await start(["run", "-n", "1", "--", "sh", "-c", command], { servers: [server.address] });
  await client.stdout.until("ready");
  for (const { id } of server.ledger.leases()) server.ledger.release(id);
  expect(await client.exited).toBe(1);
});

test.concurrent.each<[string, string[], string]>([
  ["no flags", [], "Cannot forward: expected --container <name=port> or --probe <port>"],
  ["a container without a port", ["--container", "train"], "Expected <container>=<port>, such as train=14833."],
  ["a port that is not a number", ["--container", "train=x"], "Expected a whole number from 0 to 65535."],
  ["no name", ["--container", "=14833"], "Expected <container>=<port>, such as train=14833."],
  ["two ports for one container", ["--container", "a=1", "--container", "a=2"], "Expected one port for container a."],
  ["two containers on one port", ["--container", "a=1", "--container", "b=1"], "Expected one container for port 1."],
  ["a port to probe beside a container", ["--container", "a=1", "--probe", "1"], "cannot be used with option"],
])("forward rejects %s and exits with 2", async (_, flags, message) => {
  const { status, stderr } = await outcome(["forward", ...flags]);
  expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
});

async function testForward(asProcess1: boolean): Promise<void> {
  const port = await freePort();
  const probe = () => outcome(["forward", "--probe", String(port)]);
  expect(await probe()).toEqual({ status: 1, stdout: "", stderr: "" });
  await using client = await start(["forward", "--container", `train=${port}`], { asProcess1 });
  await client.stderr.until(`bitfusion: Forwarding 127.0.0.1:${port} to the GPUs of container train\n`);
  await client.stderr.until(
    "bitfusion: Container train: Connections will wait: BITFUSION_LEASES is not set: the driver has given this container no GPUs\n",
  );
  expect(await probe()).toEqual({ status: 0, stdout: "", stderr: "" });
  const program = connect(port, "127.0.0.1");
  await once(program, "connect");
  const closed = new Promise((resolve) => program.on("error", () => {}).once("close", resolve));
  await client.kill("SIGTERM");
  expect(await client.exited).toBe(0);
  await closed;
}

test.concurrent("forward listens without leases, is found by --probe, and ends with 0 on SIGTERM", () =>
  testForward(false));
testProcess1("forward as process 1 does so, too", () => testForward(true));

test.concurrent.each<[string, string[], string]>([
  ["no -n", [], "required option '-n <count>' not specified"],
  ["a share above 1", ["-n", "1", "-p", "1.5"], "Expected a fraction from 0.01 to 1 in steps of 0.01."],
  ["-p and -m", ["-n", "1", "-p", "1", "-m", "1"], "cannot be used with option"],
  ["a timeout that is not a number", ["-n", "1", "--timeout", "x"], "Expected a number of seconds from 0 to 2147483."],
  ["a timeout of 30 days", ["-n", "1", "--timeout", "2592000"], "Expected a number of seconds from 0 to 2147483."],
  ["an unknown flag", ["-n", "1", "--nn"], "unknown option '--nn'"],
])("run rejects %s and exits with 2", async (_, flags, message) => {
  const { status, stdout, stderr } = await outcome(["run", ...flags, "--", "echo", "done"]);
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toContain(message);
});

test.concurrent("run rejects a missing command and exits with 2", async () => {
  const { status, stderr } = await outcome(["run", "-n", "1"]);
  expect([status, stderr]).toEqual([2, "error: missing required argument 'command'\n"]);
});

const ECHO = ["run", "-n", "1", "--", "echo", "done"];

test.concurrent("run names the servers.conf that is missing, and exits with 2", async () => {
  await using client = await start(ECHO);
  expect(await client.exited).toBe(2);
  const path = join(client.config, "servers.conf");
  expect(await client.stderr.text()).toStartWith(`bitfusion: Cannot read the pool's servers from ${path}: ENOENT`);
});

test.concurrent("run names both paths of a client.yaml that is missing, and exits with 2", async () => {
  await using client = await start(ECHO, { servers: ["127.0.0.1:1"], clientYaml: null });
  expect(await client.exited).toBe(2);
  const stderr = await client.stderr.text();
  expect(stderr).toStartWith("bitfusion: Cannot read client.yaml: ");
  expect(stderr).toContain(join(client.home, ".bitfusion/client.yaml"));
  expect(stderr).toContain(join(client.config, "client.yaml"));
});

test.concurrent("run prefers the client.yaml in the home", async () => {
  await using client = await start(ECHO, { servers: ["127.0.0.1:1"], homeYaml: "- a" });
  expect(await client.exited).toBe(2);
  const path = join(client.home, ".bitfusion/client.yaml");
  expect(await client.stderr.text()).toBe(`bitfusion: Cannot use ${path}: expected a mapping\n`);
});

test.concurrent("run waits for a server that starts later", async () => {
  const port = await freePort();
  await using client = await start(ECHO, { servers: [`127.0.0.1:${port}`] });
  await client.stderr.until("Waiting for the pool");
  await using _server = await startPoolServer({ port });
  expect(await client.stdout.text()).toBe("done\n");
  expect(await client.exited).toBe(0);
});

test.concurrent("run --help lists the flags and the differences from Bitfusion's own client", async () => {
  const { status, stdout } = await outcome(["run", "--help"]);
  expect(status).toBe(0);
  for (const text of ["-n <count>", "-p <fraction>", "-m <MB>", "--filter", "BITFUSION_TIMEOUT"]) {
    expect(stdout).toContain(text);
  }
  expect(stdout).toContain("Differences from Bitfusion's own client:\n  - The GPUs are simulated.");
});

test.concurrent("install names the token file that is missing, and exits with 2", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "client-"));
  const folders = ["--client", "--config", "--tokens"].flatMap((flag) => [flag, folder.path]);
  const { status, stderr } = await outcome(["install", ...folders]);
  expect(status).toBe(2);
  expect(stderr).toStartWith("bitfusion: Cannot read the token file ca.crt: ENOENT");
});
