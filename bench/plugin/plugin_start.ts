import { startSimulatedKubelet } from "../../kubernetes/simulated/kubelet.ts";

const RUNS = 20;

/** Measures the start of the compiled plugin until the kubelet has its list, and of a compiled empty program. */
export async function benchStart(programs: {
  plugin: string;
  empty: string;
  directory: string;
}): Promise<Record<string, string>[]> {
  const baseline = await repeat(() => timeToFirstOutput(programs.empty));
  const registered = await repeat(() => timeToRegistered(programs.plugin, programs.directory));
  return [
    { "time from start": "empty program, until its first output", ...summary(baseline) },
    { "time from start": "plugin, until it has registered and sent its list (100 units)", ...summary(registered) },
  ];
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
    env: { ALLOCATION: "units", KUBELET_DIR: directory, RESOURCE_NUMS: "100" },
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
  await measure(); // fills the file cache
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) times.push(await measure());
  return times.sort((a, b) => a - b);
}

function summary(times: readonly number[]): Record<string, string> {
  const at = (fraction: number) => `${times[Math.floor((times.length - 1) * fraction)]?.toFixed(1)} ms`;
  return { min: at(0), median: at(0.5), max: at(1) };
}
