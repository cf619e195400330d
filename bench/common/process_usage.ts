import { readFile } from "node:fs/promises";

/** Clock ticks a second of /proc/PID/stat: proc(5), always 100 on Linux as user space sees it. */
const TICKS = 100;

/** Resident memory of a process now, in bytes. */
export async function residentMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** What a process has used of the processor so far, in seconds. */
export async function processorTime(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from the third on: the name may have spaces
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}
