import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { withCluster } from "./cluster/cluster.ts";

/** Runs the cluster tests on a kind cluster of their own. Returns the exit status. */
async function runTests(kubeconfig: string, signal: AbortSignal): Promise<number> {
  const files = [...new Bun.Glob("e2e/*/*_e2e.ts").scanSync()].sort().map((file) => `./${file}`);
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
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
const { signal } = stop;
try {
  process.exitCode = await withCluster({ keep: values.keep, signal }, ({ kubeconfig, say }) => {
    say("testing");
    return runTests(kubeconfig, signal);
  });
} catch (error) {
  console.error(`e2e: ${(error as Error).message}`);
  process.exitCode = 1;
}
process.exit();
