import { expect, test } from "bun:test";
import { mkdtempDisposable, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectUnix } from "../../grpc/client.ts";
import { PodResourcesLister } from "../../proto/gen/podresources/v1/api_pb.ts";
import { simulatedGpus } from "../gpus/simulated.ts";
import type { Lease } from "../leases/ledger.ts";
import { servePodResources } from "./serve.ts";

const HOLDER = { client: "cluster-a", isPod: false };

function lease(namespace: string, pod: string, container: string, ...gpuIds: string[]): Lease {
  const gpus = gpuIds.map((gpuId) => ({ gpuId, units: 50 }));
  const owner = { namespace, pod, container };
  return { id: crypto.randomUUID(), holder: HOLDER, secret: "secret", owner, gpus, grantedAt: 0, expiresAt: 1 };
}

/** Serves these leases, and two GPUs of which the second is not healthy. */
async function serve(leases: readonly Lease[]) {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await mkdtempDisposable(join(tmpdir(), "pod-resources-")));
  const socket = join(path, "kubelet.sock");
  const [a, b] = simulatedGpus({ count: 2, memory: 16_000, model: "Simulated GPU" }, "GPU");
  const gpus = () => [a, { ...b, healthy: false }] as never;
  stack.use(await servePodResources({ socket, leases: () => leases, gpus }));
  const channel = stack.use(connectUnix(socket));
  const resources = stack.move();
  return {
    socket,
    client: createClient(PodResourcesLister, channel.transport),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

const gpusOf = (...deviceIds: string[]) => [{ resourceName: "nvidia.com/gpu", deviceIds }];

test("servePodResources() lists the GPUs of each container that holds leases, however they were taken", async () => {
  await using server = await serve([
    lease("team", "train", "main", "GPU/0"),
    lease("team", "train", "main", "GPU/1"),
    lease("team", "train", "init eval", "GPU/1"),
    lease("team", "web", "main", "GPU/0"),
    { ...lease("team", "web", "main", "GPU/1"), holder: { ...HOLDER, client: "cluster-b" } },
    lease("", "somebody", "", "GPU/0"),
    lease("", "", "", "GPU/0"),
  ]);
  const { podResources } = await server.client.list({});
  expect(podResources).toMatchObject([
    {
      namespace: "team",
      name: "train",
      containers: [
        { name: "main", devices: gpusOf("GPU/0", "GPU/1") },
        { name: "init", devices: gpusOf("GPU/1") },
        { name: "eval", devices: gpusOf("GPU/1") },
      ],
    },
    { namespace: "team", name: "web", containers: [{ name: "main", devices: gpusOf("GPU/0") }] },
    { namespace: "team", name: "web", containers: [{ name: "main", devices: gpusOf("GPU/1") }] },
  ]);
  expect(podResources).toHaveLength(3);
});

test("servePodResources() tells the healthy GPUs, and the resources of one pod", async () => {
  await using server = await serve([lease("team", "train", "main", "GPU/1")]);
  expect((await server.client.getAllocatableResources({})).devices).toMatchObject(gpusOf("GPU/0"));
  const { podResources } = await server.client.get({ podNamespace: "team", podName: "train" });
  expect(podResources).toMatchObject({ name: "train", containers: [{ devices: gpusOf("GPU/1") }] });
  const error = await server.client.get({ podNamespace: "other", podName: "train" }).catch(ConnectError.from);
  expect(error).toMatchObject({ code: Code.NotFound, rawMessage: "Pod other/train holds no GPU of this server" });
});

test("servePodResources() lets only the server's user and group use the socket, and replaces one that is left", async () => {
  await using server = await serve([]);
  expect(((await stat(server.socket)).mode & 0o777).toString(8)).toBe("660");
  await using _next = await servePodResources({ socket: server.socket, leases: () => [], gpus: () => [] });
  expect(((await stat(server.socket)).mode & 0o777).toString(8)).toBe("660");
});

test("servePodResources() names a socket that it cannot create, and deletes no file of another kind", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "pod-resources-"));
  const open = (socket: string) => servePodResources({ socket, leases: () => [], gpus: () => [] }).then(String, String);
  const file = join(folder.path, "leases.json");
  await writeFile(file, "{}");
  expect(await open(file)).toBe(`ConfigError: Cannot use podResources.socket="${file}": it is not a socket`);
  expect(await Bun.file(file).text()).toBe("{}");
  const missing = join(folder.path, "missing/kubelet.sock");
  expect(await open(missing)).toBe(
    `ConfigError: Cannot listen on podResources.socket="${missing}": its folder does not exist`,
  );
});

const GO = Bun.which("go");
const why = GO ? "" : " (skipped: Go is not installed)";

test.skipIf(!GO)(
  `servePodResources() answers the client that dcgm-exporter uses${why}`,
  async () => {
    await using server = await serve([lease("team", "train", "main", "GPU/0", "GPU/1")]);
    const cwd = join(import.meta.dir, "go_client");
    const child = Bun.spawn([GO ?? "", "run", ".", server.socket], { cwd, stdio: ["ignore", "pipe", "pipe"] });
    const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect((await child.exited) === 0 ? "" : errors).toBe("");
    expect(JSON.parse(output)).toEqual({
      namespace: "team",
      pod: "train",
      container: "main",
      resource: "nvidia.com/gpu",
      devices: ["GPU/0", "GPU/1"],
    });
  },
  300_000, // the modules are downloaded and compiled once
);
