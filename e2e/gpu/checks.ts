import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../program/log/log.ts";
import type { Gpu } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { processesOf } from "../../server/dataplane/sandbox/uids.ts";
import type { CudaProgram, HeldMemory } from "./cuda_program.ts";
import { type GpuServer, isCheckedUid } from "./gpu_server.ts";

/** What is checked on one GPU. */
export interface Checked {
  server: GpuServer;
  program: CudaProgram;
  /** A healthy GPU that nobody else uses. */
  gpu: Gpu;
}

/** What a check says. */
export interface Outcome {
  readonly result: "passed" | "failed" | "skipped";
  /** The reason or the figures, without a full stop. */
  readonly sentence: string;
}

export function passed(sentence: string): Outcome {
  return { result: "passed", sentence };
}

function failed(sentence: string): Outcome {
  return { result: "failed", sentence };
}

/** Runs a check. One that throws has failed. */
export async function outcomeOf(check: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await check();
  } catch (error) {
    return failed(messageOf(error));
  }
}

/** The share of the memory limit's lease, in percent. Three connections take half as much again. */
const LIMITED_SHARE = 40;

/** How long a server may take to end a lease that uses too much memory, in ms. */
const OVERUSE_TIME = 30_000;

/** How long processes may take to end with their lease, in ms. */
const END_TIME = 10_000;

/**
 * Three programs of one lease, which ask for more memory than its share and less than the GPU has, do not keep it: something refuses it, or the server
 * ends their process.
 */
export async function checkMemoryLimit({ server, program, gpu }: Checked): Promise<Outcome> {
  await using lease = await server.lease(gpu, LIMITED_SHARE);
  const shareMb = Math.floor((Number(gpu.memoryMb) * LIMITED_SHARE) / 100);
  const each = Math.floor(shareMb / 2);
  const asked = `three connections of a lease of ${shareMb} MB asked for ${each} MB each`;
  await using held = new AsyncDisposableStack();
  const holders: HeldMemory[] = [];
  for (let count = 0; count < 3; count++) holders.push(held.use(await program.hold(lease.port, each)));
  const [first, ...others] = holders.map(({ outcome }) => outcome);
  if (first === "held" && others.includes("out of memory")) return passed(`${asked}: not all of them got it`);
  if (first !== "held" || others.includes("failed")) {
    const without = holders.find(({ outcome }) => outcome !== "held");
    return failed(`${asked}: ${await without?.ended}`);
  }
  const ended = Promise.race(holders.map((holder) => holder.ended)).then(() => true);
  if (await Promise.race([ended, sleep(OVERUSE_TIME, false)])) {
    return passed(`${asked} and got it, and the server ended their process`);
  }
  return failed(`${asked} and kept it for ${OVERUSE_TIME / 1000} s`);
}

/** Two leases on one GPU compute at the same time. */
export async function checkTwoShares({ server, program, gpu }: Checked): Promise<Outcome> {
  await using a = await server.lease(gpu, 30);
  await using b = await server.lease(gpu, 30);
  const times = await Promise.all([a, b].map(({ port }) => program.run(port, "run")));
  return passed(`the right results; a call takes ${times.join(" and ")} µs`);
}

/** The GPU stays usable when a child process of the program has ended. */
export async function checkFork({ server, program, gpu }: Checked): Promise<Outcome> {
  await using lease = await server.lease(gpu, 30);
  await program.run(lease.port, "fork");
  return passed("the right results before and after a child process has ended");
}

/** A lease that ends in mid use leaves no process: none that has a uid of the server's leases, and none on the GPU. */
export async function checkEnd({ server, program, gpu }: Checked): Promise<Outcome> {
  const before = await pidsOnGpus();
  await using stack = new AsyncDisposableStack();
  const held = stack.use(await program.hold(stack.use(await server.lease(gpu, 30)).port, 100));
  if (held.outcome !== "held") return failed(`cannot allocate 100 MB: ${await held.ended}`);
  const during = (await pidsOnGpus()).filter((pid) => !before.includes(pid));
  await stack.disposeAsync();
  const deadline = performance.now() + END_TIME;
  for (;;) {
    const onGpu = (await pidsOnGpus()).filter((pid) => !before.includes(pid));
    const left = [...new Set([...processesOf(isCheckedUid), ...onGpu])];
    if (left.length === 0) break;
    if (performance.now() > deadline) return failed(`still there after ${END_TIME / 1000} s: ${left.join(", ")}`);
    await sleep(200);
  }
  return passed(`no process is left; nvidia-smi had shown ${during.length} on the GPU`);
}

/** The processes on the machine's GPUs, as nvidia-smi shows them. None if there is no nvidia-smi. */
async function pidsOnGpus(): Promise<number[]> {
  if (!Bun.which("nvidia-smi")) return [];
  const child = Bun.spawn(["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 10_000,
  });
  return [...(await child.stdout.text()).matchAll(/^\d+$/gm)].map(([pid]) => Number(pid));
}
