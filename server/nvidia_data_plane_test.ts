import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import { formatConnect } from "../pool/gate/request.ts";
import { startProgram } from "../program/processes/child_program.ts";
import { bundle } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT, TEST_CLIENT_NAME } from "../tls/testing.ts";
import { processesOf } from "./dataplane/sandbox/uids.ts";
import { CAN_ISOLATE, createTestDataPlane } from "./dataplane/testing/sandboxes.ts";
import { openTunnel } from "./gate/testing/tunnel.ts";
import { buildStandIn, HAS_COMPILER, type StandInProcess, writeStandIn } from "./gpus/nvidia/testing/nvml_stand_in.ts";
import { writeTestConfiguration } from "./testing.ts";

setDefaultTimeout(60_000); // a process is ended after ten seconds

const root = await mkdtemp(join(tmpdir(), "server-"));
afterAll(() => rm(root, { recursive: true, force: true }));

const GPU = { uuid: "GPU-8dee6ce5-8b1e-4d5c-a8c6-1d7ee2e6a6ab", memory: 16_000_000_000, name: "Tesla T4" };

/** Starts the program with a GPU of the stand-in for NVML, a data plane and metrics. */
async function start() {
  await using stack = new AsyncDisposableStack();
  const { configuration } = stack.use(await createTestDataPlane());
  const { name, build, command, environment, folder, firstUid } = configuration;
  const state = join(root, "state");
  const setProcesses = (...processes: StandInProcess[]) => writeStandIn(state, { gpus: [{ ...GPU, processes }] });
  await setProcesses();
  const library = await buildStandIn(root, state);
  const limiter = { library: join(folder, "limiter.so") };
  await copyFile(library, limiter.library); // any library will do
  const path = await writeTestConfiguration(join(root, "server"), {
    gpus: { nvidia: { library } },
    dataPlane: { custom: { name, build, command, environment }, limiter, folder, firstUid },
    gate: { port: 0 },
    metrics: { port: 0 },
  });
  const bundled = await bundle("server/main.ts");
  const program = stack.use(
    startProgram(bundled, { environment: { CONFIG_FILE: path }, ready: "Pool server started" }),
  );
  const { port } = await program.started;
  const gate = await program.logged(({ message }) => message === "Gate opened");
  const metrics = await program.logged(({ message }) => message === "Metrics served");
  const client = createClient(PoolService, stack.use(connectTls(`127.0.0.1:${port}`, TEST_CLIENT)).transport);
  const resources = stack.move();
  return {
    client,
    program,
    limiter,
    setProcesses,
    /** The pid of the data-plane process that started first, second and so on. */
    pidOf: (index: number) => processesOf((uid) => uid === firstUid + index)[0] ?? 0,
    async claim(pod: string, percent: number) {
      const owner = { namespace: "team-a", pod, container: "main" };
      const { lease, secret } = await client.claim({ owner, gpus: 1, share: { case: "percent", value: percent } });
      return { id: lease?.id ?? "", secret };
    },
    async open({ id, secret }: { id: string; secret: string }) {
      const tunnel = resources.use(openTunnel({ port: Number(gate.port) }, formatConnect(id, secret)));
      await tunnel.received((text) => text.includes("\r\n\r\n"));
      return tunnel;
    },
    /** Waits until the metrics have a line that begins with this, and returns it. */
    async untilMetric(start: string): Promise<string> {
      let text = "";
      for (const deadline = Date.now() + 20_000; Date.now() < deadline; await Bun.sleep(100)) {
        text = await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text();
        const line = text.split("\n").find((line) => line.startsWith(start));
        if (line !== undefined) return line;
      }
      throw new Error(`No metric ${start}: ${text}`);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

test.skipIf(!CAN_ISOLATE || !HAS_COMPILER)(
  "the process of a lease that keeps more memory than its share is ended, and no other",
  async () => {
    await using server = await start();
    const [lease, neighbour] = [await server.claim("train", 50), await server.claim("eval", 50)];
    const tunnel = await server.open(lease);
    const neighbours = await server.open(neighbour);
    const [first, second] = [server.pidOf(0), server.pidOf(1)];
    const used = (pod: string, bytes: number) =>
      `bitfusion_server_lease_memory_used_bytes{client="${TEST_CLIENT_NAME}",namespace="team-a",pod="${pod}",container="main",gpu="${GPU.uuid}"} ${bytes}`;
    const within = { pid: second, memory: 8_000_000_000, utilization: 40 };
    const over = { pid: first, memory: 9_000_000_000, utilization: 60 };

    await server.setProcesses(over, within);
    await server.untilMetric(used("train", 9_000_000_000));
    await server.setProcesses({ ...over, memory: 2_000_000_000 }, within);
    await server.untilMetric(used("train", 2_000_000_000)); // a false alarm
    tunnel.socket.write("still here\n");
    await tunnel.received((text) => text.endsWith('"still here"\n'));
    const { leases } = await server.client.listLeases({});
    expect(leases.find(({ id }) => id === lease.id)?.uses).toMatchObject([
      { gpuId: GPU.uuid, memoryMb: 2000n, utilizationPercent: 60 },
    ]);

    await server.setProcesses(over, within);
    await tunnel.closed;
    const reason = expect.stringMatching(/^The process used 9000 MB of GPU-8dee\S+ for 1\d s: the lease has 8000 MB$/);
    expect(await server.program.logged(({ message }) => message === "Ending a data-plane process")).toMatchObject({
      owner: { namespace: "team-a", pod: "train", container: "main" },
      why: reason,
    });
    const refused = await (await server.open(lease)).closed;
    expect(refused).toStartWith("HTTP/1.1 503 ");
    expect(refused.split("\r\n\r\n")[1]?.trim()).toEqual(reason);
    expect(await server.untilMetric("bitfusion_server_ended_processes_total{")).toEndWith('namespace="team-a"} 1');
    expect((await server.client.listLeases({})).leases.map(({ id }) => id)).toContain(lease.id);
    neighbours.socket.write("still here\n");
    await neighbours.received((text) => text.endsWith('"still here"\n'));
  },
);

test.skipIf(!CAN_ISOLATE || !HAS_COMPILER)(
  "the process of a lease loads the limiter, with the lease's share, and the inventory tells what it limits",
  async () => {
    await using server = await start();
    const tunnel = await server.open(await server.claim("train", 25));
    tunnel.socket.write("environment\n");
    const answer = await tunnel.received((text) => text.endsWith("}\n"));
    expect(JSON.parse(answer.split("\r\n\r\n")[1] ?? "")).toMatchObject({
      LD_PRELOAD: server.limiter.library,
      CUDA_DEVICE_MEMORY_LIMIT_0: "4000000000",
    });
    const { inventory } = await server.client.getInventory({});
    expect(inventory?.gpus.map(({ isolation }) => isolation)).toEqual(["memory"]);
  },
);
