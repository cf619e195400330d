import Table from "cli-table3";
import { createPatch } from "diff";
import colors from "picocolors";

/** A numbered heading and what it is about. */
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

/** The lines that differ between two texts, with some around them. */
export function difference(before: string, after: string): void {
  const [, , , , ...lines] = createPatch("", before, after, "", "", { context: 2 }).split("\n");
  for (const text of lines) {
    if (text.startsWith("+")) line(colors.green(text));
    else if (text.startsWith("-")) line(colors.red(text));
    else if (text.startsWith("@@")) line(colors.dim("  ..."));
    else if (text && !text.startsWith("\\")) line(colors.dim(text));
  }
}

/** So many of so many, as a bar. */
export function gauge(label: string, value: number, whole: number): void {
  const width = 30;
  const full = Math.round((value / whole) * width);
  line(
    `${label.padEnd(34)} ${colors.green("█".repeat(full))}${colors.red("░".repeat(width - full))} ${value} of ${whole}`,
  );
}
