import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startSimulatedKubelet } from "../kubernetes/simulated/kubelet.ts";

const RUNS = 20;

/** Start of the compiled plugin until the kubelet has its list, beside the start of a compiled program that does nothing. */
export async function benchPlugin(): Promise<Record<string, string>[]> {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  try {
    await writeFile(join(folder, "nothing.ts"), 'console.log("");');
    const nothing = await compile(join(folder, "nothing.ts"), join(folder, "nothing"));
    const plugin = await compile("plugin/main.ts", join(folder, "plugin"));
    const limit = await repeat(() => timeToFirstOutput(nothing));
    const registered = await repeat(() => timeToRegistered(plugin, join(folder, "kubelet")));
    return [
      { "": "a program that does nothing, to its first output", ...summary(limit) },
      { "": "plugin, to registered and listed (100 units)", ...summary(registered) },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** As the Dockerfiles do. */
async function compile(source: string, outfile: string): Promise<string> {
  const options = ["--compile", "--minify", "--bytecode", "--format=esm"];
  const build = Bun.spawn([process.execPath, "build", source, "--outfile", outfile, ...options], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if ((await build.exited) !== 0) throw new Error(`Cannot compile ${source}`);
  return outfile;
}

async function timeToFirstOutput(program: string): Promise<number> {
  const start = performance.now();
  const child = Bun.spawn([program], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const _ of child.stdout) break;
  const time = performance.now() - start;
  await child.exited;
  return time;
}

async function timeToRegistered(program: string, directory: string): Promise<number> {
  await using kubelet = await startSimulatedKubelet({ directory, resourceName: "bitfusion.io/gpu" });
  const start = performance.now();
  const child = Bun.spawn([program], {
    env: { KUBELET_DIR: directory, RESOURCE_NUMS: "100" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    for await (const { allocatable } of kubelet.resource.changes(AbortSignal.timeout(10_000))) {
      if (allocatable === 100) return performance.now() - start;
    }
    throw new Error("The plugin did not register within 10 s");
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
}

async function repeat(measure: () => Promise<number>): Promise<number[]> {
  await measure(); // a warm-up: the file cache
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) times.push(await measure());
  return times.sort((a, b) => a - b);
}

function summary(times: readonly number[]): Record<string, string> {
  const at = (fraction: number) => `${times[Math.floor((times.length - 1) * fraction)]?.toFixed(1)} ms`;
  return { min: at(0), median: at(0.5), max: at(1) };
}
