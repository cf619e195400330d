import { readFile } from "node:fs/promises";

/** Clock ticks per second in /proc/PID/stat, see proc(5): always 100 in Linux user space. */
const TICKS_PER_SECOND = 100;

/** Returns the resident memory of a process, in bytes. */
export async function residentMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Returns the CPU time that a process has used since its start, in seconds. */
export async function cpuTime(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3 on: the name may have spaces
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
