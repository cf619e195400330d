import { dlopen, ptr } from "bun:ffi";

/** What the first process of a container must do, as no other process does it. Disposal ends it. */
export interface Init extends Disposable {
  /** Excludes a child whose exit status this process reads itself. */
  exclude(pid: number): void;
  /** Ends all other processes of the container. They would end with this process anyway. */
  endOthers(): void;
}

// <linux/wait.h>
const [P_ALL, WNOHANG, WEXITED, WNOWAIT] = [0, 1, 4, 0x1000000];
/** Position of si_pid in siginfo_t, in int32, on Linux with 64 bits. siginfo_t has 128 bytes. */
const SI_PID = 4;

/**
 * Reaps the orphans of the container: processes whose parent has ended become children of process 1, and stay as zombies
 * until it reads their exit status. Bun does not, and has no function for it.
 *
 * @throws {Error} if there is no glibc.
 */
export function startInit(): Init {
  const libc = dlopen("libc.so.6", {
    waitid: { args: ["i32", "u32", "ptr", "i32"], returns: "i32" },
    waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
  });
  const { waitid, waitpid } = libc.symbols;
  const excluded = new Set<number>();
  const info = new Int32Array(32);

  function reap(): void {
    for (;;) {
      info.fill(0); // waitid() does not write the pid if no child has ended
      // WNOWAIT leaves the status to be read: Bun waits for its own children, and would lose it.
      const failed = waitid(P_ALL, 0, ptr(info), WEXITED | WNOHANG | WNOWAIT) !== 0; // no children
      const pid = info[SI_PID] ?? 0;
      if (failed || pid === 0 || excluded.has(pid)) return;
      waitpid(pid, null, WNOHANG);
    }
  }
  process.on("SIGCHLD", reap);
  reap();

  return {
    exclude: (pid) => excluded.add(pid),
    endOthers() {
      try {
        process.kill(-1, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // there are none
      }
    },
    [Symbol.dispose]() {
      process.off("SIGCHLD", reap);
      libc.close();
    },
  };
}
