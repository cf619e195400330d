import { constants } from "node:os";
import { clampTimeout } from "../../program/timers.ts";
import type { Init } from "./init.ts";

/** Signals that are passed on to the command, but not to its children, as other init processes do by default. */
const FORWARDED = [
  "SIGTERM",
  "SIGINT",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGALRM",
  "SIGCONT",
  "SIGWINCH",
] as const;

/** Signals that a terminal sends to the command as well. */
const FROM_TERMINAL: readonly string[] = ["SIGINT", "SIGQUIT", "SIGWINCH"];

export interface CommandOptions {
  environment: Readonly<Record<string, string | undefined>>;
  /** Aborted when the command must end early: it gets SIGTERM. */
  signal: AbortSignal;
  /** The performance.now() at which the command gets SIGKILL if it must end early. Called once the signal is aborted. */
  endBy: () => number;
  /** If this is the first process of the container. */
  init?: Init | undefined;
}

/**
 * Runs a command without a shell, on the standard streams of this process, and passes on signals. Returns the exit
 * status as a shell does: 128 + n if signal n ended the command, 127 if it does not exist, 126 if it cannot run. In the
 * first process of a container, nothing that the command has started is left then.
 */
export async function runCommand(
  command: readonly string[],
  { environment, signal, endBy, init }: CommandOptions,
): Promise<number> {
  let child: Bun.Subprocess | undefined;
  const forwarded = FORWARDED.filter((name) => !process.stdin.isTTY || !FROM_TERMINAL.includes(name));
  const forward = (name: NodeJS.Signals) => child?.kill(name);
  let limit: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    child?.kill("SIGTERM");
    limit = setTimeout(() => child?.kill("SIGKILL"), clampTimeout(endBy() - performance.now()));
  };
  // before the command starts, so that no signal is lost in between
  for (const name of forwarded) process.on(name, forward);
  try {
    child = Bun.spawn([...command], { env: environment, stdio: ["inherit", "inherit", "inherit"] });
    init?.exclude(child.pid);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
    await child.exited;
    init?.endOthers();
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
