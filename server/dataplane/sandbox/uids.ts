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

/** The processes that match by their real uid. */
export function processesOf(matches: (uid: number) => boolean): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const uid = uidOf(Number(name));
    return uid !== undefined && matches(uid) ? [Number(name)] : [];
  });
}

/** The real uid of a process. Undefined if it has ended. A zombie has: it has no resources. */
export function uidOf(pid: number): number | undefined {
  const status = readStatus(pid);
  const uid = /^Uid:\s+(\d+)/m.exec(status)?.[1];
  return uid === undefined || /^State:\s+[ZX]/m.test(status) ? undefined : Number(uid);
}

/** proc_pid_status(5). Empty if the process has ended. */
function readStatus(pid: number): string {
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
