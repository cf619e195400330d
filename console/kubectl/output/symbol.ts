import type { Terminal } from "./terminal.ts";

const SYMBOLS = {
  ok: ["✓", "+", "green"],
  waiting: ["…", "~", "yellow"],
  failed: ["✗", "x", "red"],
  unknown: ["?", "?", "yellow"],
  later: ["·", ".", "dim"],
} as const;

/** The symbol of a state at the start of a line, in ASCII where the terminal shows nothing else. */
export function symbolOf(state: keyof typeof SYMBOLS, { colors, unicode }: Terminal): string {
  const [symbol, ascii, color] = SYMBOLS[state];
  return colors[color](unicode ? symbol : ascii);
}
