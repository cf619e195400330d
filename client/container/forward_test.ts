import { afterAll, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatLeases, LEASE_FILES, type LeaseProof } from "../../pool/lease_folder.ts";
import { usedPort } from "../../program/testing.ts";
import { CAN_ISOLATE, createTestDataPlane, type PoolServerOptions, startPoolServer } from "../../server/testing.ts";
import { TEST_CA } from "../../tls/testing.ts";
import { forward } from "./forward.ts";
import { takeLease } from "./testing.ts";

const root = await mkdtemp(join(tmpdir(), "forward-"));
afterAll(() => rm(root, { recursive: true }));

const testForward = test.skipIf(!CAN_ISOLATE);

/** Starts a pod with the folder of its leases, and a server where it gets them. */
async function start({ dataPlane }: Pick<PoolServerOptions, "dataPlane"> = {}) {
  const stack = new AsyncDisposableStack();
  const startServer = async () => stack.use(await startPoolServer({ gpus: 3, ...(dataPlane ? { dataPlane } : {}) }));
  const server = await startServer();
  const environment = { BITFUSION_LEASES: join(await mkdtemp(join(root, "pod-")), "leases") };
  const printed: string[] = [];
  let wake = Promise.withResolvers<void>();
  async function writeClaim(name: string, containers: string[], leases: LeaseProof[]) {
    const folder = join(environment.BITFUSION_LEASES, name);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, LEASE_FILES.ca), TEST_CA.cert);
    await writeFile(join(folder, LEASE_FILES.leases), formatLeases({ containers, leases }));
  }
  return {
    server,
    startServer,
    printed,
    /** Resolves once a line contains the text. */
    async prints(text: string): Promise<void> {
      while (!printed.some((line) => line.includes(text))) {
        wake = Promise.withResolvers();
        await wake.promise;
      }
    },
    writeClaim,
    /** Gives the pod a claim with these GPUs, each with a lease of its own. Returns the proof of the first. */
    async claim(containers: string[], ...gpuIds: string[]): Promise<LeaseProof> {
      const leases = [];
      for (const gpuId of gpuIds) leases.push(await takeLease(server.address, gpuId));
      const [first] = leases;
      if (!first) throw new Error("Expected a GPU");
      await writeClaim(`claim-${containers.join("-")}`, containers, leases);
      return first;
    },
    /** Starts the sidecar. Returns the ports. */
    async forward(containers: readonly string[], patience?: number): Promise<number[]> {
      const forwarded = await forward({
        ports: containers.map((container) => ({ container, port: 0 })),
        environment,
        print(line) {
          printed.push(line);
          wake.resolve();
        },
        ...(patience === undefined ? {} : { patience }),
      });
      return stack.use(forwarded).ports.map(({ port }) => port);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Connects a program to a port. */
function open(port: number) {
  const socket: Socket = connect(port, "127.0.0.1");
  socket.on("error", () => {}); // it is closed then
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const chunks = socket[Symbol.asyncIterator]();
  return {
    closed,
    /** Sends a line, and returns what is received until the connection is closed, or the first line. */
    async send(line: string): Promise<string> {
      let text = "";
      socket.write(`${line}\n`);
      while (!text.endsWith("\n")) {
        const { done, value } = await chunks.next().catch(() => ({ done: true, value: undefined }));
        if (done) break;
        text += value;
      }
      return text;
    },
    end: () => void socket.end(),
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** The GPUs that a program has which connects to a port. */
async function gpusAt(port: number): Promise<string> {
  using connection = open(port);
  return JSON.parse((await connection.send("environment")) || "{}").CUDA_VISIBLE_DEVICES;
}

async function send(port: number): Promise<string> {
  using connection = open(port);
  return await connection.send("hello");
}

const SHOW_GPUS = { CUDA_VISIBLE_DEVICES: "{gpuUuids}" };

testForward(
  "forward() leads each port to the GPUs of its container, also where two containers use one claim",
  async () => {
    await using plane = await createTestDataPlane(SHOW_GPUS);
    await using pod = await start({ dataPlane: plane.configuration });
    await pod.claim(["load", "train"], "server/1");
    await pod.claim(["eval"], "server/2");
    const ports = await pod.forward(["load", "train", "eval"]);
    expect(await Promise.all(ports.map(gpusAt))).toEqual(["server/1", "server/1", "server/2"]);
    expect(pod.printed.slice(0, 3)).toEqual([
      `Forwarding 127.0.0.1:${ports[0]} to the GPUs of container load`,
      `Forwarding 127.0.0.1:${ports[1]} to the GPUs of container train`,
      `Forwarding 127.0.0.1:${ports[2]} to the GPUs of container eval`,
    ]);
  },
);

testForward("forward() takes a claim that names no containers as that of any", async () => {
  await using plane = await createTestDataPlane(SHOW_GPUS);
  await using pod = await start({ dataPlane: plane.configuration });
  await pod.claim([], "server/1");
  const [port = 0] = await pod.forward(["train"]);
  expect(await gpusAt(port)).toBe("server/1");
});

testForward("a connection that comes while the lease is missing waits for it", async () => {
  await using plane = await createTestDataPlane(SHOW_GPUS);
  await using pod = await start({ dataPlane: plane.configuration });
  const [port = 0] = await pod.forward(["train"]);
  const gpus = gpusAt(port);
  await pod.prints("Container train: Connections wait for the pool: Cannot use BITFUSION_LEASES=");
  const { leaseId } = await pod.claim(["train"], "server/0");
  expect(await gpus).toBe("server/0");
  await pod.prints(`Container train: Connected to ${pod.server.address} with lease ${leaseId}`);
});

testForward(
  "when the server ends, connections end, the reason is printed, and new ones wait for the next server",
  async () => {
    await using plane = await createTestDataPlane(SHOW_GPUS);
    await using pod = await start({ dataPlane: plane.configuration });
    const { leaseId, address } = await pod.claim(["train"], "server/0");
    const [port = 0] = await pod.forward(["train"]);
    using connection = open(port);
    expect(await connection.send("hello")).toBe('"hello"\n');
    await pod.server[Symbol.asyncDispose]();
    await connection.closed;
    await pod.prints(`Container train: Connections of lease ${leaseId} have ended: ${address}, gate `);
    const gpus = gpusAt(port);
    await pod.prints(`Container train: Connections wait for the pool: ${address}, gate `);
    const next = await pod.startServer();
    await pod.writeClaim("claim-train", ["train"], [await takeLease(next.address, "server/2")]);
    expect(await gpus).toBe("server/2");
  },
);

testForward("when the lease ends, its connections end, and the reason is printed", async () => {
  await using plane = await createTestDataPlane(SHOW_GPUS);
  await using pod = await start({ dataPlane: plane.configuration });
  const { leaseId, address, gatePort } = await pod.claim(["train"], "server/0");
  const [port = 0] = await pod.forward(["train"]);
  using connection = open(port);
  await connection.send("hello");
  pod.server.ledger.release(leaseId);
  await connection.closed;
  const reason = `${address}, gate ${gatePort}: No such lease: it has ended`;
  await pod.prints(`Container train: Connections of lease ${leaseId} have ended: ${reason}`);
});

testForward("when the process of the lease ends a connection, it is printed", async () => {
  await using plane = await createTestDataPlane(SHOW_GPUS);
  await using pod = await start({ dataPlane: plane.configuration });
  const { leaseId, address } = await pod.claim(["train"], "server/0");
  const [port = 0] = await pod.forward(["train"]);
  using connection = open(port);
  expect(await connection.send("run process.exit()")).toBe("");
  await pod.prints(`Container train: Connections of lease ${leaseId} have ended: ${address}`);
});

testForward("a program that ends its own connection is not reported", async () => {
  await using plane = await createTestDataPlane(SHOW_GPUS);
  await using pod = await start({ dataPlane: plane.configuration });
  const { leaseId } = await pod.claim(["train"], "server/0");
  const [port = 0] = await pod.forward(["train"]);
  using first = open(port);
  await first.send("hello");
  first.end();
  await first.closed;
  using last = open(port);
  await last.send("hello");
  pod.server.ledger.release(leaseId);
  await pod.prints("have ended");
  expect(pod.printed.slice(1)).toEqual([
    expect.stringContaining("Connected to"),
    expect.stringContaining("No such lease: it has ended"),
  ]);
});

test.each([
  ["a server that forwards no calls", ["server/0"], /^127\.0\.0\.1:\d+: The server forwards no calls$/],
  [
    "several leases",
    ["server/0", "server/1"],
    /^The driver has given 2 leases for this container: expected one, of one server$/,
  ],
])("forward() closes connections after a while because of %s, and says so once", async (_, gpuIds, reason) => {
  await using pod = await start();
  await pod.claim(["train"], ...gpuIds);
  const [port = 0] = await pod.forward(["train"], 0);
  expect([await send(port), await send(port)]).toEqual(["", ""]);
  const [last = ""] = pod.printed.slice(-1);
  expect(last).toStartWith("Container train: Closed a connection that waited for the pool: ");
  expect(last.split("the pool: ")[1]).toMatch(reason);
  expect(pod.printed.filter((line) => line === last)).toHaveLength(1);
});

test("forward() says that the pod has no claim for a container, and leaves the others alone", async () => {
  await using pod = await start();
  await pod.claim(["train"], "server/0");
  await pod.forward(["train", "eval"]);
  await pod.prints("Container eval: Connections will wait: The driver has given no lease for this container");
  expect(pod.printed.filter((line) => line.startsWith("Container train:"))).toEqual([]);
});

test("forward() names the port that is in use", async () => {
  const port = await usedPort();
  const ports = [
    { container: "train", port: 0 },
    { container: "eval", port },
  ];
  expect(await forward({ ports, environment: {}, print: () => {} }).catch(({ message }) => message)).toBe(
    `Cannot listen on --container eval="${port}": it is in use`,
  );
});
