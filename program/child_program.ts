/** How long a program may take to end after SIGTERM, in ms. */
const GRACE = 5000;

/** A program of this project, running on its own. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** What its first JSON log line with this message says. Rejects with all it wrote if it ends without one. */
  readonly started: Promise<Record<string, unknown>>;
  /** As `kill -9` does. Resolves once it is gone. */
  kill(): Promise<void>;
}

export interface ProgramOptions {
  environment: Record<string, string>;
  /** Message of the log line that tells it is ready. */
  ready: string;
}

/** Starts `bun FILE` with this environment. Disposal ends it and waits for its end. */
export function startProgram(file: string, { environment, ready }: ProgramOptions): Program {
  const child = Bun.spawn([process.execPath, file], {
    env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const started = Promise.withResolvers<Record<string, unknown>>();
  started.promise.catch(() => {}); // whoever needs it awaits it
  void follow();

  async function follow(): Promise<void> {
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
      const limit = setTimeout(() => child.kill("SIGKILL"), GRACE);
      await child.exited;
      clearTimeout(limit);
    },
  };
}
