import type { Terminal } from "./output/terminal.ts";

/** What a command needs of its process. */
export interface KubectlContext {
  readonly terminal: Terminal;
  /** Reads standard input to its end. */
  readonly readInput: () => Promise<string>;
  /** The time, in ms since the epoch. */
  readonly now: () => number;
  /** Aborted when the user interrupts the command. */
  readonly signal: AbortSignal;
}
