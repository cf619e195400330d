import { expect, test } from "bun:test";
import { join } from "node:path";

const PRELUDE = `
  import { createLineOutput } from ${JSON.stringify(join(import.meta.dir, "log_output.ts"))};
  const output = createLineOutput(process.stdout.fd);
  const write = (line) => output(line + "\\n");
`;

/** Starts a process that runs a script. The script can call `write(line)`. */
function start(script: string) {
  return Bun.spawn([process.execPath, "-e", `${PRELUDE}${script}`], { stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs a script whose output is read after a delay. Returns the lines, and the exit status of the script. */
async function readLate(script: string): Promise<{ lines: string[]; status: number }> {
  const command = '{ "$0" -e "$1" 2>/dev/null; echo $? >&2; } | { sleep 0.3; cat; }';
  await using child = Bun.spawn(["sh", "-c", command, process.execPath, `${PRELUDE}${script}`], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { lines: stdout.split("\n").slice(0, -1), status: Number(stderr) };
}

/** More bytes than the buffer of a pipe. */
const MANY = Array.from({ length: 30_000 }, (_, index) => `line ${index} of many`);
const WRITE_MANY = `for (let index = 0; index < ${MANY.length}; index++) write("line " + index + " of many");`;

test.concurrent.each<[end: string, script: string, status: number]>([
  ["process.exit()", "process.exit(3);", 3],
  ["process.exit() in a later tick", "setTimeout(() => process.exit(3), 50);", 3],
  ["an uncaught exception", 'throw new Error("thrown");', 1],
  ["its last statement", "", 0],
])("createLineOutput() writes all lines in order before the process ends by %s", async (_, end, status) => {
  expect(await readLate(`${WRITE_MANY} ${end}`)).toEqual({ lines: MANY, status });
});

test.concurrent("createLineOutput() queues lines for a slow reader without blocking the process", async () => {
  const continueLater =
    'setTimeout(() => write("meanwhile"), 50); setTimeout(() => process.kill(process.pid, "SIGKILL"), 700);';
  expect(await readLate(`${WRITE_MANY} ${continueLater}`)).toEqual({ lines: [...MANY, "meanwhile"], status: 137 });
});

test.concurrent("createLineOutput() does not end the process when the reader closes the pipe", async () => {
  await using child = start(`
    const timer = setInterval(() => write("line"), 5);
    setTimeout(() => { clearInterval(timer); process.stderr.write("continued"); }, 300);
  `);
  await child.stdout.cancel();
  expect(await child.stderr.text()).toBe("continued");
  expect(await child.exited).toBe(0);
});
