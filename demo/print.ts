import Table from "cli-table3";
import { createPatch } from "diff";
import colors from "picocolors";

/** Prints a numbered heading with an explanation. */
export function heading(number: number, title: string, explanation: string): void {
  console.log(`\n${colors.bold(`${number}  ${title}`)}\n${colors.dim(explanation)}\n`);
}

export function line(text: string): void {
  console.log(`   ${text}`);
}

export function table(head: string[], rows: string[][]): void {
  const none = {
    top: "",
    "top-mid": "",
    "top-left": "",
    "top-right": "",
    mid: "",
    "left-mid": "",
    "mid-mid": "",
    "right-mid": "",
  };
  const chars = {
    ...none,
    bottom: "",
    "bottom-mid": "",
    "bottom-left": "",
    "bottom-right": "",
    left: "",
    right: "",
    middle: "  ",
  };
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const cells = new Table({ head: head.map((title) => colors.dim(title)), chars, style });
  cells.push(...rows);
  for (const row of cells.toString().split("\n")) line(row.trimEnd());
}

/** Prints the lines that differ between two texts, with two lines of context. */
export function difference(before: string, after: string): void {
  const [, , , , ...lines] = createPatch("", before, after, "", "", { context: 2 }).split("\n");
  for (const text of lines) {
    if (text.startsWith("+")) line(colors.green(text));
    else if (text.startsWith("-")) line(colors.red(text));
    else if (text.startsWith("@@")) line(colors.dim("  ..."));
    else if (text && !text.startsWith("\\")) line(colors.dim(text));
  }
}

/** Prints `value` of `total` as a bar. */
export function gauge(label: string, value: number, total: number): void {
  const width = 30;
  const filled = Math.round((value / total) * width);
  line(
    `${label.padEnd(34)} ${colors.green("█".repeat(filled))}${colors.red("░".repeat(width - filled))} ${value} of ${total}`,
  );
}
