import { constants } from "node:os";

/** Signals that a container gets and its command should see. */
const FORWARDED = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const;

/** How long a command may take to end after SIGTERM once it must, in ms. */
const GRACE = 10_000;

export interface CommandOptions {
  environment: Readonly<Record<string, string | undefined>>;
  /** Aborted when the command must end early. */
  signal: AbortSignal;
}

/**
 * Runs a command with this process's standard streams and no shell, passes signals on, and returns its exit status: 128 + n if
 * signal n ended it, 127 if there is no such program, 126 if it cannot be run, as shells say it.
 */
export async function runCommand(command: readonly string[], { environment, signal }: CommandOptions): Promise<number> {
  let child: Bun.Subprocess | undefined;
  // A terminal sends SIGINT to the command itself.
  const forwarded = FORWARDED.filter((name) => name !== "SIGINT" || !process.stdin.isTTY);
  const forward = (name: NodeJS.Signals) => child?.kill(name);
  let limit: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    child?.kill("SIGTERM");
    limit = setTimeout(() => child?.kill("SIGKILL"), GRACE);
  };
  // Before the command starts: a signal that comes in between is then handled after it has.
  for (const name of forwarded) process.on(name, forward);
  try {
    child = Bun.spawn([...command], { env: environment, stdio: ["inherit", "inherit", "inherit"] });
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    await child.exited;
    const { signalCode } = child;
    return typeof signalCode === "string" ? 128 + constants.signals[signalCode] : (child.exitCode ?? 1);
  } catch (error) {
    process.stderr.write(`bitfusion: Cannot run "${command[0]}": ${(error as Error).message}\n`);
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? 127 : 126;
  } finally {
    clearTimeout(limit);
    signal.removeEventListener("abort", end);
    for (const name of forwarded) process.off(name, forward);
  }
}
