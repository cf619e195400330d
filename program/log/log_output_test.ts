import { expect, test } from "bun:test";
import { join } from "node:path";

const PRELUDE = `
  import { createLineOutput } from ${JSON.stringify(join(import.meta.dir, "log_output.ts"))};
  const output = createLineOutput(process.stdout.fd);
  const write = (line) => output(line + "\\n");
`;

/** A process that runs a script in which `write(line)` is there. */
function start(script: string) {
  return Bun.spawn([process.execPath, "-e", `${PRELUDE}${script}`], { stdio: ["ignore", "pipe", "pipe"] });
}

/** The same, with a reader that comes late: what it reads, and the script's exit status. */
async function readLate(script: string): Promise<{ lines: string[]; status: number }> {
  const late = '{ "$0" -e "$1" 2>/dev/null; echo $? >&2; } | { sleep 0.3; cat; }';
  const command = ["sh", "-c", late, process.execPath, `${PRELUDE}${script}`];
  await using child = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { lines: stdout.split("\n").slice(0, -1), status: Number(stderr) };
}

/** More than a pipe holds. */
const MANY = Array.from({ length: 30_000 }, (_, index) => `line ${index} of many`);
const WRITE_MANY = `for (let index = 0; index < ${MANY.length}; index++) write("line " + index + " of many");`;

test.concurrent.each<[end: string, script: string, status: number]>([
  ["process.exit()", "process.exit(3);", 3],
  ["process.exit() in a later turn", "setTimeout(() => process.exit(3), 50);", 3],
  ["an exception", 'throw new Error("thrown");', 1],
  ["its last statement", "", 0],
])("createLineOutput() has written all lines in order when the process ends by %s", async (_, end, status) => {
  expect(await readLate(`${WRITE_MANY} ${end}`)).toEqual({ lines: MANY, status });
});

test.concurrent("createLineOutput() keeps what a reader that is behind does not take, and goes on", async () => {
  const goOn = 'setTimeout(() => write("meanwhile"), 50); setTimeout(() => process.kill(process.pid, "SIGKILL"), 700);';
  expect(await readLate(`${WRITE_MANY} ${goOn}`)).toEqual({ lines: [...MANY, "meanwhile"], status: 137 });
});

test.concurrent("createLineOutput() does not end a process whose reader has gone", async () => {
  await using child = start(`
    const timer = setInterval(() => write("line"), 5);
    setTimeout(() => { clearInterval(timer); process.stderr.write("goes on"); }, 300);
  `);
  await child.stdout.cancel();
  expect(await child.stderr.text()).toBe("goes on");
  expect(await child.exited).toBe(0);
});
