import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { parse, stringify } from "yaml";
import { connectTcp } from "../grpc/client.ts";
import { type SimulatedKubelet, startSimulatedKubelet } from "../kubernetes/simulated/kubelet.ts";
import { type Program, startProgram } from "../program/child_program.ts";
import { freePort } from "../program/testing.ts";
import { type Lease, PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createCertificate } from "../tls/certificate.ts";
import { createPod } from "./api_server.ts";
import { type ContainerSpec, createVolume, runContainer } from "./container.ts";
import { difference, gauge, heading, line, table } from "./print.ts";

const RESOURCE = "bitfusion.io/gpu";

interface DemoPod {
  metadata: { name: string; namespace: string };
  spec: {
    volumes: { name: string; secret?: object; emptyDir?: object }[];
    initContainers: ContainerSpec[];
    containers: (ContainerSpec & { resources: { limits: Record<string, string> } })[];
  };
}

interface PoolServer {
  readonly name: string;
  readonly gpus: number;
  readonly port: number;
}

/** Shows each step from a pod's creation to its end: real programs, a simulated kubelet and API server. */
async function demo(folder: string, signal: AbortSignal): Promise<void> {
  await using resources = new AsyncDisposableStack();
  console.log(
    "How a pod gets a GPU in the network. Real: the webhook, the device plugin, the pool's protocol and client.",
  );
  console.log("Simulated, on this machine: the GPUs, the kubelet and the API server.");

  heading(1, "The pool", "Two servers in the network have three GPUs. A unit is one percent of one GPU.");
  const servers: PoolServer[] = [
    { name: "gpu-server-a", gpus: 2, port: await freePort() },
    { name: "gpu-server-b", gpus: 1, port: await freePort() },
  ];
  const programs = new Map<PoolServer, Program>();
  for (const server of servers) programs.set(server, resources.use(startPoolServer(server)));
  for (const program of programs.values()) await program.started;
  table(
    ["SERVER", "ADDRESS", "GPUS", "UNITS"],
    servers.map(({ name, gpus, port }) => [name, `127.0.0.1:${port}`, `${gpus}`, `${gpus * 100}`]),
  );

  heading(2, "The device plugin", "Registers with the kubelet on its Unix socket, and streams the pool's units to it.");
  const directory = join(folder, "kubelet");
  const kubelet = resources.use(await startSimulatedKubelet({ directory, resourceName: RESOURCE }));
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`).join(",");
  resources.use(
    startProgram("plugin/main.ts", {
      environment: { KUBELET_DIR: directory, POOL_SERVERS: addresses, INTERVAL: "1" },
      ready: "Registered",
    }),
  );
  await waitForAllocatable(kubelet, 300, signal);
  gauge(`node  ${RESOURCE}  allocatable`, 300, 300);

  heading(
    3,
    "kubectl apply -f examples/pod.yaml",
    "The API server calls the webhook over TLS. The webhook makes these changes:",
  );
  const webhook = resources.use(await startWebhook(folder));
  const { port } = await webhook.started;
  const original: DemoPod = parse(await Bun.file("examples/pod.yaml").text());
  const caBundle = await Bun.file(join(folder, "ca.crt")).text();
  const pod = await createPod(original, { url: `https://localhost:${port}/mutate`, caBundle });
  difference(toYaml(original), toYaml(pod));

  heading(4, "The kubelet", "Allocates the pod's units from the plugin, and starts the containers.");
  const [container] = pod.spec.containers;
  const units = Number(container?.resources.limits[RESOURCE]);
  const ids = await kubelet.allocate(units);
  line(`Allocated ${ids.length} units: ${ids[0]} to ${ids.at(-1)}\n`);
  await runPod(pod, { folder, servers, signal });
  kubelet.free(ids);
  line("");
  line("The command has ended, and the pool has no leases:");
  await printLeases(servers);

  heading(
    5,
    "A server fails and returns",
    "The plugin detects it. Capacity stays the same; only healthy units are allocatable.",
  );
  const failedServer = servers[1] as PoolServer;
  gauge("before", kubelet.resource.current?.allocatable ?? 0, 300);
  await programs.get(failedServer)?.kill();
  await waitForAllocatable(kubelet, 200, signal);
  gauge(`${failedServer.name} killed`, 200, 300);
  resources.use(startPoolServer(failedServer));
  await waitForAllocatable(kubelet, 300, signal);
  gauge(`${failedServer.name} started again`, 300, 300);
  console.log("\nTo use a real cluster, see README or run: bun run e2e");
}

/** Formats a pod as YAML 1.1, which kubectl reads: an unquoted yes is a boolean. */
function toYaml(pod: DemoPod): string {
  return stringify(pod, { version: "1.1", lineWidth: 0 });
}

function startPoolServer({ name, gpus, port }: PoolServer): Program {
  const environment = { PORT: String(port), GPUS: String(gpus), SERVER_NAME: name };
  return startProgram("server/main.ts", { environment, ready: "Pool server started" });
}

async function startWebhook(folder: string): Promise<Program> {
  const { ca, cert, key } = await createCertificate(["localhost"], Date.now());
  const files = { "ca.crt": ca, "tls.crt": cert, "tls.key": key };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return startProgram("webhook/main.ts", {
    environment: {
      PORT: "0",
      TLS_CERT_FILE: join(folder, "tls.crt"),
      TLS_KEY_FILE: join(folder, "tls.key"),
      TOKENS: "off",
    },
    ready: "Serving",
  });
}

/** Waits until the kubelet reports this many allocatable units. @throws {Error} after 10 s. */
async function waitForAllocatable(kubelet: SimulatedKubelet, units: number, signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.timeout(10_000);
  for await (const resource of kubelet.resource.changes(AbortSignal.any([signal, deadline]))) {
    if (resource.allocatable === units) return;
  }
  signal.throwIfAborted();
  throw new Error(`Expected ${units} allocatable units within 10 s: ${kubelet.resource.current?.allocatable}`);
}

interface RunPodOptions {
  folder: string;
  servers: readonly PoolServer[];
  signal: AbortSignal;
}

/** Runs the pod's init containers in turn, then its containers. */
async function runPod(pod: DemoPod, { folder, servers, signal }: RunPodOptions): Promise<void> {
  const client = join(folder, "bitfusion");
  const build = ["build", "client/main.ts", "--compile", "--outfile", client];
  await Bun.spawn([process.execPath, ...build], { stdio: ["ignore", "ignore", "inherit"], signal }).exited;
  const tokens = await createVolume(join(folder, "tokens"));
  const conf = stringify({ servers: servers.map(({ port }) => ({ addresses: [`127.0.0.1:${port}`] })) });
  for (const [name, text] of Object.entries({
    "servers.conf": conf,
    "client.yaml": "client: demo\n",
    "ca.crt": "# none\n",
  })) {
    await writeFile(join(tokens, name), text);
  }
  const volumes: Record<string, string> = {};
  for (const { name, secret } of pod.spec.volumes) {
    volumes[name] = await createVolume(join(folder, "volumes", name), secret ? tokens : undefined);
  }
  const fields = { "metadata.namespace": pod.metadata.namespace, "metadata.name": pod.metadata.name };
  const images = { init: { "/usr/bin/bitfusion": client }, main: { "/usr/bin/python": "demo/python" } };

  for (const container of pod.spec.initContainers) {
    line(`init container ${container.name}: ${container.command?.join(" ")}`);
    const options = { root: join(folder, container.name), image: images.init, volumes, fields, onLine: line, signal };
    expectSuccess(container, await runContainer(container, options));
  }
  for (const container of pod.spec.containers) {
    line(`container ${container.name}: ${container.command?.join(" ")}`);
    let leases: Promise<void> | undefined;
    const onLine = (text: string) => {
      line(`  | ${text}`);
      if (text.startsWith("GPUs:")) leases ??= printLeases(servers);
    };
    const options = { root: join(folder, container.name), image: images.main, volumes, fields, onLine, signal };
    expectSuccess(container, await runContainer(container, options));
    await leases;
  }
}

function expectSuccess({ name }: ContainerSpec, status: number): void {
  if (status !== 0) throw new Error(`Container "${name}" ended with status ${status}`);
}

async function printLeases(servers: readonly PoolServer[]): Promise<void> {
  const rows: string[][] = [];
  for (const { name, port } of servers) {
    using channel = connectTcp(`127.0.0.1:${port}`);
    const { leases } = await createClient(PoolService, channel.transport).listLeases({}, { timeoutMs: 2000 });
    rows.push(...leases.map((lease) => [name, ownerOf(lease), sharesOf(lease)]));
  }
  table(["POOL SERVER", "LEASE OF", "SHARE"], rows.length > 0 ? rows : [["-", "-", "-"]]);
}

function ownerOf({ owner }: Lease): string {
  return [owner?.namespace, owner?.pod, owner?.container].join("/");
}

function sharesOf({ gpus }: Lease): string {
  return gpus.map(({ gpuId, units }) => `${units} % of ${gpuId}`).join(", ");
}

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
}
const folder = await mkdtemp(join(tmpdir(), "bf-"));
try {
  await demo(folder, stop.signal);
} catch (error) {
  console.error(`demo: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exit();
