import { createColors } from "picocolors";

/** Where a command writes, and how. */
export interface Terminal {
  /** Writes to standard output. */
  readonly write: (text: string) => void;
  /** Writes a line to standard error. */
  readonly warn: (line: string) => void;
  readonly colors: ReturnType<typeof createColors>;
  /** Whether standard output is a terminal, which can be cleared. */
  readonly isInteractive: boolean;
  /** Whether it shows characters that are not in ASCII. */
  readonly unicode: boolean;
}

export interface TerminalOptions {
  write: (text: string) => void;
  /** Writes to standard error. */
  writeError: (text: string) => void;
  isInteractive: boolean;
  environment: Readonly<Record<string, string | undefined>>;
  platform?: string;
}

/** Colors are for terminals only, and not if NO_COLOR is set (https://no-color.org). */
export function createTerminal(options: TerminalOptions): Terminal {
  const { write, writeError, isInteractive, environment, platform = process.platform } = options;
  const hasColors = isInteractive && !environment.NO_COLOR && environment.TERM !== "dumb";
  const locale = environment.LC_ALL || environment.LC_CTYPE || environment.LANG || "";
  return {
    write,
    warn: (line) => writeError(`${line}\n`),
    colors: createColors(hasColors),
    isInteractive,
    unicode: platform !== "linux" || /utf-?8/i.test(locale),
  };
}
