import { chown, mkdir, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Launch } from "./launch.ts";
import { readLines } from "./output.ts";
import { kill, killAll } from "./uids.ts";

/** Most processes and threads of a lease (RLIMIT_NPROC). */
const MAX_PROCESSES = 16_384;

/** Size of the process's own /tmp, /var/tmp and /dev/shm, each. */
const TMPFS = "size=1g,mode=1777,nosuid,nodev";

/** Runs as root in the new namespaces, and becomes the process. Its arguments are a uid, and the command. */
const ENTER = `set -e
for folder in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o ${TMPFS} tmpfs "$folder"; done
ip link set lo up
uid=$1
shift
exec prlimit --nproc=${MAX_PROCESSES} --core=0 -- \\
  setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"`;

const NAMESPACES = ["--net", "--mount", "--ipc", "--uts", "--pid", "--fork", "--mount-proc"];

/** A process that nobody but this process reaches. */
export interface Sandbox {
  /** A process in the same network namespace, once it has one. */
  readonly pid: number;
  /** How it ended. Resolves when nothing of it is left. */
  readonly ended: Promise<string>;
  /** Aborted when it has ended. Parts of it may be left until `ended` resolves. */
  readonly signal: AbortSignal;
  /** Sends SIGTERM, and SIGKILL after `grace` ms. Resolves when nothing of it is left. */
  end(grace: number): Promise<void>;
}

export interface SandboxOptions {
  launch: Launch;
  /** Its user, which no other process has. */
  uid: number;
  /** Its own folder, which is created: the working directory and HOME. It is removed when nothing of the process is left. */
  folder: string;
  /** A line of its output, and how many were dropped before it. */
  onLine: (line: string, dropped: number) => void;
}

/**
 * Starts a process as a user of its own, without capabilities, in namespaces of its own (unshare(1) of util-linux): it has no network but
 * a loopback device, sees no other processes, and has its own /tmp. What it starts cannot leave these, and ends with it.
 */
export async function startSandbox({ launch, uid, folder, onLine }: SandboxOptions): Promise<Sandbox> {
  await mkdir(folder, { mode: 0o700 });
  await chown(folder, uid, uid);
  const command = ["/bin/sh", "-c", ENTER, "sh", String(uid), ...launch.command];
  const child = Bun.spawn(["unshare", ...NAMESPACES, "--", ...command], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...launch.environment },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // a process group of its own
  });
  const output = Promise.all([readLines(child.stdout, onLine), readLines(child.stderr, onLine)]);
  const exited = new AbortController();

  async function untilEnded(): Promise<string> {
    await child.exited;
    exited.abort();
    // The process is the first one of its namespace, so all that it has started end with it. But somebody may have killed unshare alone.
    await killAll((each) => each === uid);
    await output;
    await rm(folder, { recursive: true, force: true });
    return child.signalCode ? `it was killed by ${child.signalCode}` : `it exited with status ${child.exitCode}`;
  }
  const ended = untilEnded();

  async function killUntilEnded(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) kill(-child.pid);
    await killAll((each) => each === uid);
    await ended;
  }
  return {
    pid: child.pid,
    ended,
    signal: exited.signal,
    async end(grace) {
      if (!exited.signal.aborted) kill(-child.pid, "SIGTERM");
      await Promise.race([ended, sleep(grace, undefined, { signal: exited.signal }).catch(() => {})]);
      await killUntilEnded();
    },
  };
}
