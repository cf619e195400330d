/** A program ended with a status other than 0. Has the complete output of the program. */
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

/** Runs a program without a shell. Returns its standard output. @throws {ExecError} if its exit status is not 0. */
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
