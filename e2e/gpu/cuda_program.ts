import { join } from "node:path";

/** A program that uses a GPU: cuda_program.c, compiled. */
export interface CudaProgram {
  /**
   * Runs it with the library of a client.
   *
   * @param args the command and its arguments
   * @throws {Error} if it does not end with status 0 within a minute.
   */
  run(port: number, ...args: readonly string[]): Promise<string>;
  /** Allocates `memoryMb` MB, and uses them until disposal. */
  hold(port: number, memoryMb: number): Promise<HeldMemory>;
}

/** Memory of a GPU that a program of its own holds. */
export interface HeldMemory extends AsyncDisposable {
  /** `held`, or why the allocation failed. */
  readonly outcome: "held" | "out of memory" | "failed";
  /** What it has written to standard error, once it has ended. */
  readonly ended: Promise<string>;
}

/** Time limit of one run, in ms. */
const TIMEOUT = 60_000;

/** Status with which the program ends if the GPU has not enough memory. */
const OUT_OF_MEMORY = 3;

/** Compiles the program. @throws {Error} with the compiler's messages. */
export async function compileCudaProgram(folder: string, library: string): Promise<CudaProgram> {
  const file = join(folder, "cuda_program");
  const compiler = Bun.spawn(["cc", "-O1", "-o", file, join(import.meta.dir, "cuda_program.c"), "-ldl"], {
    stdio: ["ignore", "inherit", "pipe"],
  });
  const messages = await compiler.stderr.text();
  if ((await compiler.exited) !== 0) throw new Error(`Cannot compile cuda_program.c: ${messages}`);

  /** Lupine's client reads these variables. */
  const environment = (port: number) => ({
    ...process.env,
    LUPINE_SERVER: `127.0.0.1:${port}`,
    LUPINE_DISABLE_LOCAL: "1",
  });
  return {
    async run(port, ...args) {
      const child = Bun.spawn([file, library, ...args], {
        env: environment(port),
        stdio: ["ignore", "pipe", "pipe"],
        timeout: TIMEOUT,
      });
      const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      if ((await child.exited) === 0) return output.trim();
      const how = child.signalCode ? `was ended by ${child.signalCode}` : `exited with status ${child.exitCode}`;
      throw new Error(`cuda_program ${args.join(" ")} ${how}: ${errors.trim()}`);
    },
    async hold(port, memoryMb) {
      const child = Bun.spawn([file, library, "hold", String(memoryMb)], {
        env: environment(port),
        stdio: ["pipe", "pipe", "pipe"],
      });
      const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT);
      const ended = Promise.all([child.stderr.text(), child.exited]).then(([errors]) => errors.trim());
      const { value } = await child.stdout.getReader().read();
      clearTimeout(timer);
      const isHeld = value !== undefined && new TextDecoder().decode(value).startsWith("held");
      if (!isHeld) await child.exited;
      return {
        outcome: isHeld ? "held" : child.exitCode === OUT_OF_MEMORY ? "out of memory" : "failed",
        ended,
        async [Symbol.asyncDispose]() {
          child.stdin.end();
          await ended;
        },
      };
    },
  };
}
