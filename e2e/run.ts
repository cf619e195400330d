import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { withCluster } from "./cluster/cluster.ts";

interface TestOptions {
  kubeconfig: string;
  /** Whether to run the drills after the scenarios. */
  all: boolean;
  signal: AbortSignal;
}

/** Runs the cluster tests. Returns the exit status of `bun test`. */
async function runTests({ kubeconfig, all, signal }: TestOptions): Promise<number> {
  const folders = all ? ["scenarios", "drills"] : ["scenarios"];
  const files = folders.flatMap((folder) => [...new Bun.Glob(`./e2e/${folder}/*_e2e.ts`).scanSync()].sort());
  await mkdir("reports", { recursive: true });
  const options = ["--timeout=180000", "--reporter=junit", "--reporter-outfile=reports/e2e.xml"];
  const tests = Bun.spawn([process.execPath, "test", ...options, ...files], {
    env: { ...process.env, KUBECONFIG: kubeconfig },
    stdio: ["ignore", "inherit", "inherit"],
    signal,
  });
  return tests.exited;
}

const { values } = parseArgs({
  options: { keep: { type: "boolean", default: false }, all: { type: "boolean", default: false } },
});
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
const { signal } = stop;
try {
  process.exitCode = await withCluster({ keep: values.keep, signal }, ({ kubeconfig, logProgress }) => {
    logProgress("running the tests");
    return runTests({ kubeconfig, all: values.all, signal });
  });
} catch (error) {
  console.error(`e2e: ${(error as Error).message}`);
  process.exitCode = 1;
}
process.exit();
