import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { withCluster } from "./cluster/cluster.ts";

interface TestOptions {
  kubeconfig: string;
  /** The test files, relative to the repository's root. */
  files: readonly string[];
  signal: AbortSignal;
}

/** Runs the cluster tests. Returns the exit status of `bun test`. */
async function runTests({ kubeconfig, files, signal }: TestOptions): Promise<number> {
  await mkdir("reports", { recursive: true });
  const options = ["--timeout=180000", "--reporter=junit", "--reporter-outfile=reports/e2e.xml"];
  const tests = Bun.spawn([process.execPath, "test", ...options, ...files], {
    env: { ...process.env, KUBECONFIG: kubeconfig },
    stdio: ["ignore", "inherit", "inherit"],
    signal,
  });
  return tests.exited;
}

/** The folders of tests that run with `--all`, in this order: claims, then units and back, then what the API server has written down of all others. */
const ALL = ["scenarios", "drills", "units", "audit"];

/** Lists the scenarios, and with `all` the drills. With `names`, only the files whose path contains one of them. */
function findTests(names: readonly string[], all: boolean): string[] {
  const folders = all ? ALL : ["scenarios"];
  return folders
    .flatMap((folder) => [...new Bun.Glob(`./e2e/${folder}/*_e2e.ts`).scanSync()].sort())
    .filter((file) => names.length === 0 || names.some((name) => file.includes(name)));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { keep: { type: "boolean", default: false }, all: { type: "boolean", default: false } },
});
const files = findTests(positionals, values.all);
if (files.length === 0) {
  console.error(`e2e: No test file contains ${positionals.map((name) => `"${name}"`).join(" or ")}`);
  process.exit(2);
}
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
const { signal } = stop;
try {
  process.exitCode = await withCluster({ keep: values.keep, record: true, signal }, ({ kubeconfig, logProgress }) => {
    logProgress("running the tests");
    return runTests({ kubeconfig, files, signal });
  });
} catch (error) {
  console.error(`e2e: ${(error as Error).message}`);
  process.exitCode = 1;
}
process.exit();
