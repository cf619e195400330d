import { mkdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { withCluster } from "./cluster/cluster.ts";
import { OLD, type Part, planParts } from "./parts.ts";

interface RunOptions {
  /** Keeps the cluster and the pool servers for inspection. */
  keep: boolean;
  signal: AbortSignal;
}

/** Runs the tests of a part on a new cluster. Returns the exit status of `bun test`, or 1 if there is no cluster to run them on. */
async function runPart({ name, files, cluster }: Part, { keep, signal }: RunOptions): Promise<number> {
  try {
    return await withCluster({ ...cluster, keep, signal }, async ({ kubeconfig, logProgress }) => {
      logProgress("running the tests");
      await mkdir("reports", { recursive: true });
      const options = ["--timeout=180000", "--reporter=junit", `--reporter-outfile=reports/${name}.xml`];
      const tests = Bun.spawn([process.execPath, "test", ...options, ...files], {
        env: { ...process.env, KUBECONFIG: kubeconfig },
        stdio: ["ignore", "inherit", "inherit"],
        signal,
      });
      return tests.exited;
    });
  } catch (error) {
    console.error(`e2e: ${(error as Error).message}`);
    return 1;
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    keep: { type: "boolean", default: false },
    all: { type: "boolean", default: false },
    "old-image": { type: "string" },
  },
});
const oldImage = values["old-image"];
const parts = planParts({ names: positionals, all: values.all, oldImage });
if (parts.length === 0) {
  console.error(`e2e: No test file contains ${positionals.map((name) => `"${name}"`).join(" or ")}`);
  process.exit(2);
}
if (values.all && positionals.length === 0 && !oldImage)
  console.log(`e2e: Without --old-image IMAGE, the tests in e2e/${OLD} are skipped`);
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => stop.abort(new Error(`Received ${signal}`)));
const { signal } = stop;
// Ryuk removes the containers of a crashed run. It would also remove those to keep.
if (values.keep) process.env.TESTCONTAINERS_RYUK_DISABLED = "true";
const statuses: number[] = [];
for (const part of parts) {
  const keep = values.keep && part === parts.at(-1); // the next part replaces the others
  statuses.push(signal.aborted ? 1 : await runPart(part, { keep, signal }));
}
process.exit(Math.max(...statuses));
