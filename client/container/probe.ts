import { readFile } from "node:fs/promises";

/** 127.0.0.1 in the order of bytes of x86 and ARM. */
const LOOPBACK = "0100007F";

/** TCP_LISTEN. */
const LISTENING = "0A";

/**
 * Whether a program of this network namespace listens on a port of 127.0.0.1. It does not connect: the forwarder would carry the connection on to
 * the gate, and a server would start a process for it.
 */
export async function isListening(port: number): Promise<boolean> {
  return hasListener(await readFile("/proc/net/tcp", "utf8"), port);
}

/** @param table the content of /proc/net/tcp (proc_pid_net(5)) */
export function hasListener(table: string, port: number): boolean {
  const local = `${LOOPBACK}:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return table.split("\n").some((line) => {
    const [, address, , state] = line.trim().split(/\s+/);
    return address === local && state === LISTENING;
  });
}
