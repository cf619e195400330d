import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { diagnose } from "./diagnostics.ts";
import { buildImages, loadImages } from "./images.ts";
import { install } from "./install.ts";
import { createCluster, deleteCluster } from "./kind.ts";
import { SERVERS, startPool } from "./pool.ts";

const CLUSTER = "bitfusion-e2e";

/** Runs the cluster tests on a kind cluster of their own. Returns the exit status. */
async function main(keep: boolean, signal: AbortSignal): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "bitfusion-e2e-"));
  const kubeconfig = join(folder, "kubeconfig");
  const start = performance.now();
  const say = (text: string) =>
    console.log(`${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  try {
    say("making images and cluster");
    await together(signal, buildImages, (either) => createCluster({ name: CLUSTER, kubeconfig, signal: either }));
    say("starting the pool's servers");
    await using _pool = await startPool({ keep });
    say("loading images");
    await loadImages(CLUSTER, signal);
    say("installing");
    await install(kubeconfig, signal).catch(async (error) => {
      await diagnose("install", { kubeconfig });
      throw error;
    });
    say("testing");
    return await runTests(kubeconfig, signal);
  } finally {
    if (keep && !signal.aborted) {
      console.log(`The cluster stays, and the pool's servers beside it. To use them, and to remove them:
  kind export kubeconfig --name ${CLUSTER}
  kind delete cluster --name ${CLUSTER}; docker rm --force ${SERVERS.map(({ name }) => name).join(" ")}`);
    } else {
      say("removing the cluster");
      await deleteCluster(CLUSTER, kubeconfig);
    }
    await rm(folder, { recursive: true, force: true });
    say("done");
  }
}

/** Does both at once. When one fails the other is stopped, and has ended before the failure is thrown. */
async function together(signal: AbortSignal, ...parts: ((signal: AbortSignal) => Promise<void>)[]): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const running = parts.map((part) => part(either).catch((error) => failed.abort(error)));
  await Promise.all(running);
  failed.signal.throwIfAborted();
}

async function runTests(kubeconfig: string, signal: AbortSignal): Promise<number> {
  const files = [...new Bun.Glob("e2e/*_e2e.ts").scanSync()].sort().map((file) => `./${file}`);
  await mkdir("reports", { recursive: true });
  const options = ["--timeout=180000", "--reporter=junit", "--reporter-outfile=reports/e2e.xml"];
  const tests = Bun.spawn([process.execPath, "test", ...options, ...files], {
    env: { ...process.env, KUBECONFIG: kubeconfig },
    stdio: ["ignore", "inherit", "inherit"],
    signal,
  });
  return tests.exited;
}

const { values } = parseArgs({ options: { keep: { type: "boolean", default: false } } });
// The reaper removes the containers of a run that crashed, and would remove those that are to be kept.
if (values.keep) process.env.TESTCONTAINERS_RYUK_DISABLED = "true";
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
try {
  process.exitCode = await main(values.keep, stop.signal);
} catch (error) {
  console.error(`e2e: ${(error as Error).message}`);
  process.exitCode = 1;
}
process.exit();
