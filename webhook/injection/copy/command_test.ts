import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Share } from "../../../pool/share.ts";
import type { Container } from "../../pod/pod.ts";
import { Refusal } from "../../pod/refusal.ts";
import { type CommandOptions, runsClient, wrapCommand } from "./command.ts";

const BINARY = "/bitfusion/bin/bitfusion";

function wrap(container: Omit<Container, "name">, options: Partial<CommandOptions> = {}): string[] {
  return wrapCommand(
    { name: "train", ...container },
    { binary: BINARY, share: { gpus: 1, percent: 50 }, filters: [], ...options },
  );
}

/** Runs the command after the client's own arguments, and returns its output. */
function run(argv: string[], args: string[] = []): string {
  const { stdout, stderr } = Bun.spawnSync([...argv.slice(argv.indexOf("--") + 1), ...args]);
  return stdout.toString() + stderr.toString();
}

test("wrapCommand() runs the command under the client as an argument vector", () => {
  const command = ["python", "-c", "print(1)"];
  expect(wrap({ command })).toEqual([BINARY, "run", "-n", "1", "-p", "0.5", "--", "python", "-c", "print(1)"]);
});

test("wrapCommand() runs a shell line, as documented, with a shell", () => {
  const [line] = ["python /benchmark/x.py --batch_size=32"];
  const command = wrap({ command: [line] });
  expect(command).toEqual([BINARY, "run", "-n", "1", "-p", "0.5", "--", "/bin/sh", "-c", line]);
});

test("wrapCommand() keeps the user's own shell and its -c", () => {
  const command = ["/bin/bash", "-c", "nvidia-smi && python x.py"];
  expect(wrap({ command }).slice(-4)).toEqual(["--", ...command]);
});

test("wrapCommand() leaves args to Kubernetes, which appends them to the command", () => {
  expect(wrap({ command: ["python"], args: ["x.py", "a b"] }).slice(-2)).toEqual(["--", "python"]);
});

test.each(["/entrypoint.sh", "python ", "", " "])(
  "wrapCommand() does not treat %j, without white space between words, as a shell line",
  (element) => {
    expect(wrap({ command: [element] }).slice(-2)).toEqual(["--", element]);
  },
);

test.each<[description: string, line: string]>([
  ["a line", `printf '<%s>'`],
  ["a line that ends with a line break, as in a YAML block", `printf '<%s>'\n`],
  ["a line of several commands", `true && printf '<%s>'`],
])("wrapCommand() passes args unchanged to %s", (_, line) => {
  const args = ["a b", "", "$HOME", "`id`", "'quoted' \"twice\"", "*", "-n", "é\nü", "\\"];
  const command = wrap({ command: [line], args });
  expect(run(command, args)).toBe(args.map((argument) => `<${argument}>`).join(""));
});

test("wrapCommand() runs a line without args as a shell does", async () => {
  const directory = await mkdtemp(join(tmpdir(), "command-"));
  const script = join(directory, "my script.sh");
  await writeFile(script, 'echo "$# $1"');
  expect(run(wrap({ command: [`sh '${script}' "one argument"`] }))).toBe("1 one argument\n");
  await rm(directory, { recursive: true });
});

test("wrapCommand() passes each filter as one argument, also with characters that are special in a shell", () => {
  const filters = ["server.addr=10.0.0.1", "device.name=$(touch /tmp/x); rm *", "--", "server.hostname='a'"];
  expect(wrap({ command: ["python"] }, { filters })).toEqual([
    ...[BINARY, "run", "-n", "1", "-p", "0.5"],
    ...filters.flatMap((filter) => ["--filter", filter]),
    ...["--", "python"],
  ]);
});

test.each<[share: Share, arguments: string[]]>([
  [{ gpus: 1, percent: 50 }, ["-n", "1", "-p", "0.5"]],
  [{ gpus: 2, percent: 100 }, ["-n", "2", "-p", "1"]],
  [{ gpus: 1, percent: 7 }, ["-n", "1", "-p", "0.07"]],
  [{ gpus: 1, percent: 29 }, ["-n", "1", "-p", "0.29"]],
  [{ gpus: 3, memoryMb: 8590 }, ["-n", "3", "-m", "8590"]],
])("wrapCommand() passes the share %j as %j", (share, expected) => {
  expect(wrap({ command: ["x"] }, { share })).toEqual([BINARY, "run", ...expected, "--", "x"]);
});

test.each([
  [["bitfusion", "run", "-n", "1", "--", "python"]],
  [["/opt/bitfusion/bitfusion", "run", "-n", "1", "--", "python"]],
  [["bitfusion run -n 1 -- python x.py"]],
  [[" /usr/bin/bitfusion run -n 1 -- python x.py"]],
  [["bitfusion"]],
])("wrapCommand() leaves %j alone because it runs the client", (command) => {
  expect(wrap({ command })).toEqual(command);
});

test("wrapCommand() wraps a command that only mentions the client", () => {
  expect(wrap({ command: ["python", "bitfusion"] }).slice(-3)).toEqual(["--", "python", "bitfusion"]);
});

test.each<[description: string, container: Omit<Container, "name">]>([
  ["no command", {}],
  ["an empty command", { command: [] }],
  ["only args", { args: ["x.py"] }],
])("wrapCommand() refuses a container with %s", (_, container) => {
  expect(() => wrap(container)).toThrow(
    new Refusal(
      "command",
      'Container "train": command is not set: set it to what the container runs, since the entrypoint of the image is unknown here',
    ),
  );
});

test.each<[command: string[], runs: boolean]>([
  [["/a folder/bitfusion", "run"], true],
  [["bitfusion run -- x"], true],
  [["bitfusion run", "x"], false], // a program with a space in its name
  [["python", "bitfusion"], false],
  [[], false],
])("runsClient() returns for %j %p", (command, runs) => {
  expect(runsClient(command, BINARY)).toBe(runs);
});
