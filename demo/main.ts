import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../program/log/log.ts";
import { compile } from "../program/processes/compile.ts";
import { freePort } from "../program/testing.ts";
import { startControlPlane } from "./cluster/control_plane.ts";
import { createNode } from "./node/node.ts";
import { startController } from "./programs/controller.ts";
import { startDriver } from "./programs/driver.ts";
import { createPoolServer } from "./programs/pool_server.ts";
import { createToken } from "./programs/token.ts";
import { startWebhook } from "./programs/webhook.ts";
import { showAdmission } from "./steps/admission.ts";
import type { Demo } from "./steps/demo.ts";
import { showFailure } from "./steps/failure.ts";
import { servePage } from "./steps/page.ts";
import { showPool } from "./steps/pool.ts";
import { showRun } from "./steps/run.ts";
import { showSharing } from "./steps/share.ts";
import { showSlices } from "./steps/slices.ts";

const NODE_NAME = "node-1";

const INTRODUCTION = `How a pod gets a share of a GPU in the network.
Real programs: pool servers, controller, webhook, DRA driver and client. They use real sockets and TLS, and the pool
servers ask for the certificates of their clients.
Simulated, on this machine: the GPUs, the API server, the controller manager, the scheduler and the kubelet.`;

const CONCLUSION = `
Clusters without claims by capacity (before Kubernetes 1.36) share the pool by counted units: see docs/sharing.md.
To see all this on a real cluster, run: bun run e2e`;

interface Options {
  /** Whether the page is served instead, until the signal is aborted. */
  readonly withPage: boolean;
}

/** Starts everything, and shows each step from the pool to a pod's end. */
async function demo(folder: string, { withPage }: Options, stop: AbortSignal): Promise<void> {
  if (!withPage) console.log(INTRODUCTION);
  await using resources = new AsyncDisposableStack();
  const ended = new AbortController();
  const signal = AbortSignal.any([stop, ended.signal]);

  const { token, servers } = await createPool(folder);
  for (const server of servers) resources.use(server);
  const controlPlane = resources.use(await startControlPlane({ folder, nodeName: NODE_NAME }));
  const { store, kubeconfig } = controlPlane;
  store.put("/api/v1/namespaces/bitfusion-system", {});
  store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", { data: token.data });

  const options = { folder, kubeconfig, servers: servers.map(({ address }) => address) };
  await Promise.all(servers.map((server) => server.start())); // GPUs are published in the order in which they are found
  const controller = resources.use(startController(options));
  const webhook = resources.use(await startWebhook(options));
  const driver = resources.use(await startDriver(options));
  const [client] = await Promise.all([
    compile("client/main.ts", join(folder, "bitfusion"), signal),
    controller.started,
    driver.waitUntilRegistered(signal),
  ]);

  const hostRoot = join(folder, "host");
  await mkdir(join(hostRoot, "home/code"), { recursive: true });
  await mkdir(join(folder, "pods"));
  const node = createNode({
    name: NODE_NAME,
    folder: join(folder, "pods"),
    hostRoot,
    store,
    kubelet: driver.kubelet,
    cdiDirectory: driver.cdiDirectory,
    images: {
      "bitfusion-client": { "/usr/bin/bitfusion": client },
      "nvcr.io/nvidia/tensorflow": { "/usr/bin/python": join(process.cwd(), "demo/image/python") },
    },
  });
  const context = { servers, store, webhook, driver, node, hostRoot, signal };
  const told = withPage ? webhook.waitUntilReady(signal).then(() => servePage(context, kubeconfig)) : tell(context);
  const parts = [told, controlPlane.run(signal), node.run(signal)];
  try {
    await Promise.all(parts.map((part) => part.finally(() => ended.abort()))); // the first part that ends stops the others
  } finally {
    await Promise.allSettled(parts);
  }
}

async function tell(context: Demo): Promise<void> {
  const steps = [showPool, showSlices, showAdmission, showRun, showSharing, showFailure];
  for (const [index, showStep] of steps.entries()) await showStep(index + 1, context);
  console.log(CONCLUSION);
}

/** Creates the token of the pool and its servers, as their administrator does. The servers are not started yet. */
async function createPool(folder: string) {
  const sizes = { "gpu-server-a": 2, "gpu-server-b": 1 };
  const ports = await Promise.all(Object.keys(sizes).map(freePort));
  const token = await createToken(
    folder,
    ports.map((port) => `127.0.0.1:${port}`),
  );
  const servers = Object.entries(sizes).map(([name, gpus], index) =>
    createPoolServer({ name, gpus, port: ports[index] ?? 0, folder, tls: token.tls }),
  );
  return { token, servers };
}

const { values } = parseArgs({ options: { page: { type: "boolean", default: false } } });
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
}
const folder = await mkdtemp(join(tmpdir(), "bf-"));
try {
  await demo(folder, { withPage: values.page }, stop.signal);
} catch (error) {
  const cause = stop.signal.aborted ? stop.signal.reason : error; // an abort surfaces as many different errors
  const isOver = values.page && stop.signal.aborted; // nothing else ends the page
  if (!isOver) console.error(`demo: ${messageOf(cause)}`);
  process.exitCode = isOver ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exit();
