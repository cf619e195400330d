import { readdirSync, readFileSync } from "node:fs";
import { createBackoff } from "../../../program/backoff.ts";

const NEVER = new AbortController().signal;

/**
 * Kills the processes that match by their uid until there are none. Returns how many there were. A process that waits for a device ends
 * only then.
 *
 * @throws the signal's reason when the signal is aborted before.
 */
export async function killAll(matches: (uid: number) => boolean, signal: AbortSignal = NEVER): Promise<number> {
  const killed = new Set<number>();
  const backoff = createBackoff({ initial: 20, max: 1000 });
  for (;;) {
    const pids = processesOf(matches);
    if (pids.length === 0) return killed.size;
    for (const pid of pids) {
      kill(pid);
      killed.add(pid);
    }
    await backoff.wait(signal);
  }
}

/** The processes that match by their real uid. A zombie is none: it has no resources. */
export function processesOf(matches: (uid: number) => boolean): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const status = readStatus(name);
    const uid = /^Uid:\s+(\d+)/m.exec(status)?.[1];
    return uid !== undefined && matches(Number(uid)) && !/^State:\s+[ZX]/m.test(status) ? [Number(name)] : [];
  });
}

/** proc_pid_status(5). Empty if the process has ended. */
function readStatus(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "latin1");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}

/** Sends SIGKILL to a process, or to the group -pid, that may have ended. */
export function kill(pid: number, signal: NodeJS.Signals = "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
