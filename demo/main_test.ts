import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempDisposable, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

setDefaultTimeout(120_000); // 12 s on an idle machine

/** Starts the demo with a folder for all its files. */
function startDemo(TMPDIR: string) {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR };
  return Bun.spawn([process.execPath, "demo/main.ts"], { env, stdio: ["ignore", "pipe", "pipe"] });
}

/** Expects that a demo which used this folder has left no files and no processes behind. */
async function expectNothingLeft(folder: string): Promise<void> {
  expect(await readdir(folder)).toEqual([]);
  expect(await processesUsing(folder)).toEqual([]);
  expect((await readdir(".")).filter((name) => name.endsWith(".bun-build"))).toEqual([]);
}

test.concurrent("the demo follows pods from their creation to their end, and a server from its failure to its return", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "d-"));
  const demo = startDemo(folder.path);
  const [stdout, stderr] = await Promise.all([new Response(demo.stdout).text(), new Response(demo.stderr).text()]);
  expect(stderr).toBe("");
  expect(await demo.exited).toBe(0);
  expect(stdout).not.toContain("\u001b"); // no colors when piped
  await expectNothingLeft(folder.path);

  const output = stdout.replaceAll(/(gpu-server-[ab]):\d+\//g, "$1/").replaceAll(/ +/g, " "); // without ports and columns
  const expectSection = (...lines: string[]) => expect(output).toContain(lines.map((line) => `\n ${line}`).join(""));
  const devices = [...output.matchAll(/^ bitfusion-0 (gpu-\w+) (\S+) units: 100, memory: 16000M$/gm)];
  const gpus = new Map(devices.map(([, device, gpu]) => [gpu, device]));
  expect([...gpus.keys()].sort()).toEqual(["gpu-server-a/0", "gpu-server-a/1", "gpu-server-b/0"]);
  const found = (pattern: RegExp): string => pattern.exec(output)?.[1] ?? "";
  const allocated = found(/^ device: (gpu-\w+)$/m);
  const train = [...gpus.keys()].find((gpu) => gpus.get(gpu) === allocated) ?? "";
  const gpuOf = (pod: string) => found(new RegExp(`^ ${pod} Running (\\S+)$`, "m"));
  const [first, second, third] = [gpuOf("train-1"), gpuOf("train-2"), gpuOf("train-3")];
  expect([first, second, third].sort()).toEqual([...gpus.keys()].map(String).sort());
  const lease = (pod: string, gpu: string) => `${gpu.split("/")[0]} team/${pod}/main 60 ${gpu}`;

  expectSection(
    "- command: [python, /code/train.py]",
    '+ command: [/bitfusion/bin/bitfusion, run, -n, "1", -p, "0.6", --, python, /code/train.py]',
  );
  expect(output).toMatch(/\n - bitfusion\.io\/gpu-percent: 60\n/);
  expectSection("kind: ResourceClaim");
  expectSection("count: 1", 'capacity: {requests: {units: "60"}}');
  expectSection(`device: ${allocated}`, "request: gpu", 'consumedCapacity: {memory: "0", units: "60"}');
  expect(output).toContain("env: [BITFUSION_LEASES=/run/bitfusion/leases]");

  const leases = "POOL SERVER LEASE OF UNITS GPU";
  expectSection(leases, `${lease("train", train)}\n`);
  expectSection(
    `| bitfusion: Holding ${train} at 60 %`,
    `| (stand-in for python) train.py runs on ${train}=60`,
    "| train.py has finished",
    "exit status: 0",
    "The pool has no leases.",
  );
  expectSection(leases, lease("train-1", first), lease("train-2", second), `${lease("train-3", third)}\n`);
  expectSection(`train-3 Running ${third}`, "train-4 Pending -");
  expectSection(
    "REASON FROM MESSAGE",
    "WaitingForPool bitfusion-controller Waiting for the pool: needs 60 % of one GPU; the freest has 40 %",
  );
  expectSection("3 GPUs on 2 servers: 180 of 300 units held (60 %), 120 free, 0 blocked");
  expect(output).toMatch(/\n team train-1 main 60 gpu-server-[ab]\S* \S+ \S+ \d+s ready\n/);
  expect(output).toMatch(/\n team train-4 \d+s 60 % of one GPU needs 60 % of one GPU; the freest has 40 %\n/);
  expectSection("train-2 Succeeded -", `train-3 Running ${third}`, `train-4 Running ${second}`);
  expectSection(leases, lease("train-1", first), lease("train-3", third), `${lease("train-4", second)}\n`);
  const failed = `name: ${gpus.get("gpu-server-b/0")}`;
  expectSection(failed, "taints:", "- key: bitfusion.io/unreachable", "effect: NoSchedule", "timeAdded: ");
  expectSection(failed, "taints: []");
});

test.concurrent.each([
  ["while its programs start", "Real programs"],
  ["while containers run", "team/train/main"],
])("the demo ends its programs and removes its files on SIGINT %s", async (_, text) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "d-"));
  const demo = startDemo(folder.path);
  for await (const chunk of demo.stdout) if (new TextDecoder().decode(chunk).includes(text)) break;
  demo.kill("SIGINT");
  expect(await new Response(demo.stderr).text()).toBe("demo: Received SIGINT\n");
  expect(await demo.exited).toBe(1);
  await expectNothingLeft(folder.path);
});

/** Returns the ids of processes whose environment contains the folder: every process of the demo inherits TMPDIR. */
async function processesUsing(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const environment = await Bun.file(`/proc/${pid}/environ`)
      .text()
      .catch(() => "");
    if (environment.includes(folder)) found.push(pid);
  }
  return found;
}
