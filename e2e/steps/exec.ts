/** A program that ended with another status than 0, and all that it said. */
export class ExecError extends Error {
  override name = "ExecError";
  readonly output: string;
  constructor(command: readonly string[], status: number, output: string) {
    super(`${command.join(" ")}: exit status ${status}\n${output}`);
    this.output = output;
  }
}

export interface ExecOptions {
  stdin?: string;
  env?: Record<string, string | undefined>;
  signal?: AbortSignal;
}

/** Runs a program, no shell. Returns what it wrote to standard output. @throws {ExecError} */
export async function exec(command: readonly string[], { stdin, env, signal }: ExecOptions = {}): Promise<string> {
  const child = Bun.spawn([...command], {
    env: { ...process.env, ...env },
    stdin: stdin === undefined ? "ignore" : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
    ...(signal ? { signal } : {}),
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  signal?.throwIfAborted();
  if (status !== 0) throw new ExecError(command, status, stdout + stderr);
  return stdout;
}
