/** Characters of a bar. */
const WIDTH = 10;

/** The eighths of a character, from none to all. */
const EIGHTHS = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/**
 * A bar of ten characters, filled to a part of a whole. Something that is not empty never looks empty.
 *
 * @param unicode Whether the terminal can show blocks. Otherwise the bar is of # and dots.
 */
export function formatBar(part: number, whole: number, unicode: boolean): string {
  const ratio = whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0;
  if (!unicode) {
    const full = ratio === 0 ? 0 : Math.max(1, Math.floor(ratio * WIDTH));
    return "#".repeat(full) + ".".repeat(WIDTH - full);
  }
  const eighths = ratio === 0 ? 0 : Math.max(1, Math.floor(ratio * WIDTH * 8));
  const full = Math.floor(eighths / 8);
  const rest = full < WIDTH ? (EIGHTHS[eighths % 8] ?? "") : "";
  return `${"█".repeat(full)}${rest}`.padEnd(WIDTH, " ").replaceAll(" ", "░");
}
