import { expect, test } from "bun:test";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PRELUDE = `
  import { createLineOutput } from ${JSON.stringify(join(import.meta.dir, "log_output.ts"))};
  const output = createLineOutput(process.stdout.fd, (lines) => "dropped " + lines + "\\n");
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

test.concurrent("createLineOutput() drops and counts lines while its queue is full, and continues for a reader that is back", async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), "log-"));
  const gate = join(directory.path, "gate");
  const script = `${PRELUDE}
    for (let index = 0; index < 200_000; index++) write("line " + index + " of many");
    require("node:fs").writeFileSync(${JSON.stringify(gate)}, "open\\n");
    setInterval(() => write("afterwards"), 10);
    process.stdin.on("end", () => process.exit()).resume();
  `;
  const command = 'mkfifo "$2"; "$0" -e "$1" | { read _ < "$2"; exec cat; }';
  await using child = Bun.spawn(["sh", "-c", command, process.execPath, script, gate], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  let text = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes("afterwards\n")) await child.stdin.end();
  }
  const lines = text.split("\n");
  const kept = lines.filter((line) => line.startsWith("line"));
  expect(kept).toEqual(kept.map((_, index) => `line ${index} of many`));
  expect(kept.join("\n").length).toBeWithin(1024 * 1024 - 100, 1.5 * 1024 * 1024);
  expect(lines.slice(kept.length, kept.length + 2)).toEqual([expect.stringMatching(/^dropped \d+$/), "afterwards"]);
  const dropped = Number(lines[kept.length]?.replace("dropped ", ""));
  expect(dropped - (200_000 - kept.length)).toBeWithin(0, 500); // "afterwards" is dropped as well until the reader is back
});

test.concurrent("createLineOutput() writes a line that is longer than its queue", async () => {
  await using child = start(`
    write("x".repeat(2_000_000));
    write("next");
    setInterval(() => {}, 1000); // until the test ends it
  `);
  let text = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.endsWith("next\n")) break;
  }
  expect(text.split("\n").map(({ length }) => length)).toEqual([2_000_000, 4, 0]);
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
