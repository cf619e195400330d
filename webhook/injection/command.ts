import { basename } from "node:path/posix";
import { percentToFraction, type Share } from "../../pool/share.ts";
import type { Container } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

export interface CommandOptions {
  /** The client's path in the container. */
  readonly binary: string;
  readonly share: Share;
  /** key=value, each its own argument. */
  readonly filters: readonly string[];
}

/**
 * The container's command under `<client> run`, as an argument vector: no shell of ours, args untouched. One element with white
 * space in it is a line for the shell, as the original's users write it. A command that runs the client already is left alone.
 *
 * @throws {Refusal} when there is no command: the image's entrypoint is unknown here.
 */
export function wrapCommand(container: Container, { binary, share, filters }: CommandOptions): string[] {
  const { name, command = [], args = [] } = container;
  const [first] = command;
  if (first === undefined) {
    throw new Refusal(
      "command",
      `Container "${name}": command is not set: set it to what the container runs, the image's entrypoint is unknown here`,
    );
  }
  if (runsClient(command, binary)) return command;
  return [
    binary,
    "run",
    "-n",
    String(share.gpus),
    ...("percent" in share ? ["-p", percentToFraction(share.percent)] : ["-m", String(share.memoryMb)]),
    ...filters.flatMap((filter) => ["--filter", filter]),
    "--",
    ...(isLine(command) ? shellLine(first, args) : command),
  ];
}

/** Whether a command, or the line that it is, starts with the client, wherever that lies. */
export function runsClient(command: readonly string[], binary: string): boolean {
  const [first = ""] = command;
  const program = isLine(command) ? first.trim().split(/\s/, 1)[0] : first;
  return program === binary || nameOf(program ?? "") === nameOf(binary);
}

function isLine([first = "", ...others]: readonly string[]): boolean {
  return others.length === 0 && /\s/.test(first.trim());
}

/** The container's args come after the command: "$@" hands them on to the line's program, on its last line. */
function shellLine(line: string, args: readonly string[]): string[] {
  return args.length === 0 ? ["/bin/sh", "-c", line] : ["/bin/sh", "-c", `${line.trimEnd()} "$@"`, "sh"];
}

/** The last part of a path. basename() itself takes longer than all the rest of a command. */
function nameOf(path: string): string {
  return path.endsWith("/") ? basename(path) : path.slice(path.lastIndexOf("/") + 1);
}
