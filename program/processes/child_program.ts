/** Time from SIGTERM to SIGKILL, in ms. */
const GRACE_PERIOD = 5000;

/** How long a program may take until it is ready, in ms: far longer than any does, also on a busy machine. */
const START_TIMEOUT = 30_000;

/** A line of a program's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly message: string };

/** A program of this repository in a child process. Disposal sends SIGTERM, and SIGKILL after five seconds. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** The first log line whose message is `ready`. Rejects with the output of the program if it ends before, or after 30 s. */
  readonly started: Promise<LogLine>;
  /** The exit status. */
  readonly exited: Promise<number>;
  /** The first log line that matches, also one from before. Rejects with the output of the program if it ends before. */
  logged(matches: (line: LogLine) => boolean): Promise<LogLine>;
  /** Standard error, once the program has ended. */
  readonly stderr: Promise<string>;
  /** Sends SIGKILL. Resolves when the process has ended. */
  kill(): Promise<void>;
}

export interface ProgramOptions {
  environment: Record<string, string>;
  /** Message of the log line that the program writes when it is ready. */
  ready: string;
  /** Called with each line of the log. */
  onLine?: (line: LogLine) => void;
}

/** Starts `bun FILE` with this environment. Disposal ends the program and waits until it has ended. */
export function startProgram(file: string, { environment, ready, onLine = () => {} }: ProgramOptions): Program {
  const child = Bun.spawn([process.execPath, file], {
    env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: LogLine[] = [];
  let changed = Promise.withResolvers<void>();
  let output = "";
  let hasEnded = false;
  const stderr = new Response(child.stderr).text();
  void readOutput();

  async function readOutput(): Promise<void> {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      output += text;
      const complete = (rest + text).split("\n");
      rest = complete.pop() ?? "";
      add(complete.flatMap(parseLine));
      notify();
    }
    add(parseLine(rest));
    output += await stderr;
    hasEnded = true;
    notify();
  }

  function add(added: readonly LogLine[]): void {
    lines.push(...added);
    added.forEach(onLine);
  }

  function notify(): void {
    changed.resolve();
    changed = Promise.withResolvers();
  }

  async function logged(matches: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const line = lines.find(matches);
      if (line) return line;
      if (hasEnded) throw new Error(`${file} ended: ${output}`);
      await changed.promise;
    }
  }

  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(`${file} did not log "${ready}" within ${START_TIMEOUT / 1000} s: ${output}`));
  }, START_TIMEOUT);
  const isReady = logged(({ message }) => message === ready);
  const started = Promise.race([isReady, late.promise]).finally(() => clearTimeout(timer));
  started.catch(() => {}); // no unhandled rejection if the caller does not await it
  return {
    pid: child.pid,
    started,
    exited: child.exited,
    logged,
    stderr,
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

/** Returns a line of a log, or nothing if it is other output of the program. */
function parseLine(line: string): LogLine[] {
  try {
    const value = JSON.parse(line);
    return typeof value?.message === "string" ? [value] : [];
  } catch {
    return [];
  }
}
