import { basename } from "node:path/posix";
import { percentToFraction, type Share } from "../../../pool/share.ts";
import { quote } from "../../../program/text/quote.ts";
import type { Container } from "../../pod/pod.ts";
import { Refusal } from "../../pod/refusal.ts";

export interface CommandOptions {
  /** Path of the client in the container. */
  readonly binary: string;
  readonly share: Share;
  /** Filters in the form key=value. Each becomes one argument. */
  readonly filters: readonly string[];
}

/**
 * A container's command under `<client> run`, as an argument vector: no shell is added, and args stay untouched. A command of one
 * element with white space in it is a shell line, as in the original's documentation. A command that runs the client already is returned
 * as it is.
 *
 * @throws {Refusal} if the container has no command: the entrypoint of the image is unknown to the webhook.
 */
export function wrapCommand(container: Container, { binary, share, filters }: CommandOptions): string[] {
  const { name, command = [], args = [] } = container;
  const [first] = command;
  if (first === undefined) {
    throw new Refusal(
      "command",
      `Container ${quote(name)}: command is not set: set it to what the container runs, since the entrypoint of the image is unknown here`,
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
    ...(isShellLine(command) ? toShell(first, args) : command),
  ];
}

/** Whether a command, or the shell line that it is, starts with the client, at any path. */
export function runsClient(command: readonly string[], binary: string): boolean {
  const [first = ""] = command;
  const program = isShellLine(command) ? first.trim().split(/\s/, 1)[0] : first;
  return program === binary || basename(program ?? "") === basename(binary);
}

function isShellLine([first = "", ...others]: readonly string[]): boolean {
  return others.length === 0 && /\s/.test(first.trim());
}

/** Kubernetes appends the container's args to the command. "$@" passes them on to the program on the last line. */
function toShell(line: string, args: readonly string[]): string[] {
  return args.length === 0 ? ["/bin/sh", "-c", line] : ["/bin/sh", "-c", `${line.trimEnd()} "$@"`, "sh"];
}
