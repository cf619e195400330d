import { constants } from "node:os";

/** Signals that are passed on to the command. */
const FORWARDED = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const;

/** Time between SIGTERM and SIGKILL when the command must end, in ms. */
const GRACE = 10_000;

export interface CommandOptions {
  environment: Readonly<Record<string, string | undefined>>;
  /** Aborted when the command must end early. */
  signal: AbortSignal;
}

/**
 * Runs a command without a shell, on the standard streams of this process, and passes on signals. Returns the exit
 * status as a shell does: 128 + n if signal n ended the command, 127 if it does not exist, 126 if it cannot run.
 */
export async function runCommand(command: readonly string[], { environment, signal }: CommandOptions): Promise<number> {
  let child: Bun.Subprocess | undefined;
  // a terminal sends SIGINT to the command as well
  const forwarded = FORWARDED.filter((name) => name !== "SIGINT" || !process.stdin.isTTY);
  const forward = (name: NodeJS.Signals) => child?.kill(name);
  let limit: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    child?.kill("SIGTERM");
    limit = setTimeout(() => child?.kill("SIGKILL"), GRACE);
  };
  // before the command starts, so that no signal is lost in between
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
