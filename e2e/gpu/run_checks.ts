import type { Inventory } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { checkEnd, checkFork, checkMemoryLimit, checkTwoShares, type Outcome, outcomeOf, passed } from "./checks.ts";
import { compileCudaProgram } from "./cuda_program.ts";
import { type CheckedParts, NoServerError, startGpuServer } from "./gpu_server.ts";

/** The outcome of one check. */
export interface CheckResult extends Outcome {
  readonly name: string;
}

/** The checks that run a program on the GPU. */
const PROGRAM_CHECKS = {
  "memory limit": checkMemoryLimit,
  "two shares": checkTwoShares,
  fork: checkFork,
  "end of lease": checkEnd,
};

export interface RunOptions {
  /** For files, while the checks run. */
  folder: string;
  /** libcuda.so.1 of the data plane's client. */
  library: string | undefined;
}

/** Starts a pool server, and runs all checks. Those that are not possible here are skipped. */
export async function* runChecks(parts: CheckedParts, { folder, library }: RunOptions): AsyncGenerator<CheckResult> {
  const skipAll = (sentence: string, names = Object.keys(PROGRAM_CHECKS)): CheckResult[] =>
    names.map((name) => ({ name, result: "skipped", sentence }));
  await using stack = new AsyncDisposableStack();
  let server: Awaited<ReturnType<typeof startGpuServer>>;
  try {
    server = stack.use(await startGpuServer(folder, parts));
  } catch (error) {
    if (!(error instanceof NoServerError)) throw error;
    return yield* skipAll(error.message, ["inventory", ...Object.keys(PROGRAM_CHECKS)]);
  }
  yield { name: "inventory", ...passed(describe(server.inventory)) };
  const gpu = server.inventory.gpus.find(({ healthy }) => healthy);
  if (!gpu) return yield* skipAll("no GPU is healthy");
  if (!parts.dataPlane) return yield* skipAll("no data plane: name a configuration with --config");
  if (library === undefined) return yield* skipAll("no client: name its libcuda.so.1 with --library");
  if (!Bun.which("cc")) return yield* skipAll("no C compiler: install cc");
  const program = await compileCudaProgram(folder, library);
  for (const [name, check] of Object.entries(PROGRAM_CHECKS)) {
    yield { name, ...(await outcomeOf(() => check({ server, program, gpu }))) };
  }
}

function describe({ gpus, driverVersion, cudaVersion }: Inventory): string {
  const list = gpus.map(({ id, model, memoryMb, healthy, problem }) => {
    return `${id} ${model} (${memoryMb} MB${healthy ? "" : `, not healthy: ${problem}`})`;
  });
  return `${list.join(", ")}; driver ${driverVersion}, CUDA ${cudaVersion}`;
}
