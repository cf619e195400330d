/** Time from SIGTERM to SIGKILL, in ms. */
const GRACE_PERIOD = 5000;

/** A program of this repository in a child process. Disposal sends SIGTERM, and SIGKILL after five seconds. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** The first JSON log line whose message is `ready`. Rejects with the output of the program if it ends before. */
  readonly started: Promise<Record<string, unknown>>;
  /** Sends SIGKILL. Resolves when the process has ended. */
  kill(): Promise<void>;
}

export interface ProgramOptions {
  environment: Record<string, string>;
  /** Message of the log line that the program writes when it is ready. */
  ready: string;
}

/** Starts `bun FILE` with this environment. Disposal ends the program and waits until it has ended. */
export function startProgram(file: string, { environment, ready }: ProgramOptions): Program {
  const child = Bun.spawn([process.execPath, file], {
    env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const started = Promise.withResolvers<Record<string, unknown>>();
  started.promise.catch(() => {}); // no unhandled rejection if the caller does not await it
  void readOutput();

  async function readOutput(): Promise<void> {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      const line = text.split("\n").find((each) => each.includes(`"message":"${ready}"`) && each.endsWith("}"));
      if (line) started.resolve(JSON.parse(line));
    }
    started.reject(new Error(`${file} ended: ${text}${await new Response(child.stderr).text()}`));
  }

  return {
    pid: child.pid,
    started: started.promise,
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_PERIOD);
      await child.exited;
      clearTimeout(timer);
    },
  };
}
