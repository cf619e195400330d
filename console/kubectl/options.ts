import { type Command, Option } from "commander";
import { type Connection, connect } from "./connection/connect.ts";
import { UserError } from "./user_error.ts";

/** Formats of a command that shows something. */
export const OUTPUT_FORMATS = ["wide", "json", "yaml", "name"] as const;

export type OutputFormat = "table" | (typeof OUTPUT_FORMATS)[number];

export interface ConnectionFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
}

export interface ShowFlags extends ConnectionFlags {
  readonly output?: OutputFormat;
  readonly watch?: boolean;
}

/** Adds the options that say which cluster and namespace is meant. */
export function addConnectionOptions(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "kubeconfig to use (default: as kubectl)")
    .option("--context <name>", "context of the kubeconfig (default: the current one)")
    .option("-n, --namespace <name>", "namespace (default: that of the context)");
}

/** Adds the options of a command that shows something. */
export function addShowOptions(command: Command): Command {
  return command
    .addOption(new Option("-o, --output <format>", "format of the output").choices(OUTPUT_FORMATS))
    .option("-w, --watch", "go on and show each change, until interrupted");
}

/** Connects, and chooses the namespace. @throws {UserError} */
export function open(flags: ConnectionFlags): Connection {
  const connection = connect(flags);
  if (flags.namespace === "") throw new UserError('Cannot use --namespace "": expected the name of a namespace');
  return { ...connection, namespace: flags.namespace ?? connection.namespace };
}
