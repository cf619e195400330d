/** A process that answers lines: one line of JSON for each line that it reads. Disposal kills it. */
export interface LineProcess extends AsyncDisposable {
  readonly pid: number;
  /** Sends a line, and returns the next line that the process writes. */
  ask<T>(line?: string): Promise<T>;
  /** Returns the next line that the process writes. */
  next<T>(): Promise<T>;
  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void;
}

/** Starts `bun FILE`. */
export function startLineProcess(file: string): LineProcess {
  const child = Bun.spawn([process.execPath, file], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = readLines(child.stdout, file);
  const next = async <T>() => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${file} has ended`);
    return JSON.parse(value) as T;
  };
  return {
    pid: child.pid,
    async ask(line = "") {
      child.stdin.write(`${line}\n`);
      await child.stdin.flush();
      return next();
    },
    next,
    signal: (name) => child.kill(name),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** Yields the complete lines of a stream. @throws {Error} if it ends within a line. */
export async function* readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  file: string,
): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest) throw new Error(`${file} ended within a line: ${rest.slice(0, 200)}`);
}
