import { expect, test } from "bun:test";
import { mkdir, mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Registry } from "prom-client";
import { startSimulatedDraKubelet } from "../../kubernetes/simulated/dra_kubelet.ts";
import { createKeyedMutex } from "../../program/keyed_mutex.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { createHealthService } from "./health/device_health.ts";
import type { NodeHealth } from "./health/lease_health.ts";
import { claimHealth } from "./health/testing.ts";
import { runDriverLifecycle } from "./lifecycle.ts";
import { createDriverMetrics } from "./metrics.ts";
import { createDriverService } from "./service.ts";

/*
 * The kubelet's end of the connection is grpc-go, which closes a connection after 30 minutes without a call. The programs in
 * kubelet_connection have the kubelet's code for the connection, and an idle time of two seconds.
 */

const GO = Bun.which("go");
const PROGRAM = join(import.meta.dir, "kubelet_connection");

/** The modules are downloaded and compiled once, which takes a minute or two. */
const TIMEOUT = 300_000;

/** Serves the driver for a claim that needs nothing, and with a GPU that is not healthy. Returns the path of the socket that the kubelet calls. */
async function startDriver(folder: string, stack: AsyncDisposableStack): Promise<string> {
  const directories = { registryDirectory: join(folder, "registry"), driverDirectory: join(folder, "driver") };
  await mkdir(directories.registryDirectory);
  const kubelet = stack.use(await startSimulatedDraKubelet({ directory: directories.registryDirectory }));
  const metrics = createDriverMetrics({ registry: new Registry(), preparedClaims: async () => 0 });
  const prepared = { claim: { ...claimHealth().claim, shares: [] } };
  const preparer = { prepare: async () => prepared, unprepare: async () => {} };
  const unhealthy = claimHealth({ gpus: [{ id: "a/0", healthy: false, problem: "xid-79" }] });
  const stop = new AbortController();
  const running = runDriverLifecycle({
    ...directories,
    service: createDriverService({
      preparer,
      mutex: createKeyedMutex(),
      onPrepared: () => {},
      log: silentLog,
      metrics,
    }),
    health: createHealthService(createLatest<NodeHealth>(new Map([[unhealthy.claim.uid, unhealthy]]))),
    log: silentLog,
    metrics,
    onState: () => {},
    signal: stop.signal,
  });
  stack.defer(() => {
    stop.abort();
    return running;
  });
  for await (const [plugin] of kubelet.plugins.changes(AbortSignal.timeout(10_000))) if (plugin) return plugin.endpoint;
  throw new Error("The driver did not register");
}

/** Runs a program. Returns the lines of its standard output, or of its standard error if it fails. */
async function run(command: readonly string[]): Promise<string[]> {
  const child = Bun.spawn([...command], { cwd: PROGRAM, stdio: ["ignore", "pipe", "pipe"] });
  const [output, errors] = await Promise.all([child.stdout, child.stderr].map((stream) => new Response(stream).text()));
  return (((await child.exited) === 0 ? output : errors) ?? "").trim().split("\n");
}

const why = GO ? "" : " (skipped: Go is not installed)";

test.skipIf(!GO)(
  `the kubelet's calls succeed after its connection became idle, whether it connects again at once or with the next call${why}`,
  async () => {
    await using stack = new AsyncDisposableStack();
    const { path: folder } = stack.use(await mkdtempDisposable(join(tmpdir(), "idle-")));
    const program = join(folder, "kubelet-connection");
    expect(await run([GO ?? "", "build", "-o", program, "."])).toEqual([""]);
    const endpoint = await startDriver(folder, stack);
    const claim = ["-endpoint", endpoint, "-namespace", "team", "-name", "train", "-uid", "a-1"];
    const runs = ["-reconnect=true", "-reconnect=false"].map((reconnect) => run([program, reconnect, ...claim]));
    const expected = ["prepared", "idle", "prepared", "idle", "prepared", "idle", "unprepared"];
    expect(await Promise.all(runs)).toEqual([expected, expected]);
  },
  TIMEOUT,
);

test.skipIf(!GO)(
  `the kubelets of Kubernetes 1.37 and 1.36 are told why a GPU is not healthy${why}`,
  async () => {
    await using stack = new AsyncDisposableStack();
    const { path: folder } = stack.use(await mkdtempDisposable(join(tmpdir(), "health-")));
    const program = join(folder, "health");
    expect(await run([GO ?? "", "build", "-o", program, "./health"])).toEqual([""]);
    const message = "Pool server gpu-a:56001 reports GPU a/0 as unhealthy: xid-79";
    expect(await run([program, "-endpoint", await startDriver(folder, stack)])).toEqual([
      `v1 UNHEALTHY: ${message}`,
      `v1alpha1 UNHEALTHY: ${message}`,
    ]);
  },
  TIMEOUT,
);
