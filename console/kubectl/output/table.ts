import Table from "cli-table3";
import { escapeControls } from "../../../program/text/quote.ts";

/** A text of a table, and how to color it. */
export interface StyledText {
  readonly text: string;
  readonly style: (text: string) => string;
}

/** Control characters in a cell are escaped: tenants choose many of the texts. */
export type Cell = string | StyledText;

const NO_BORDERS = Object.fromEntries(
  ["top", "bottom", "left", "mid", "right"]
    .flatMap((side) => [side, `${side}-mid`, `${side}-left`, `${side}-right`])
    .map((name) => [name, ""]),
);

/** Rows that the library lays out at a time: its time grows with their square. */
const BLOCK = 20;

/** Formats a table without borders, as kubectl does. It ends with a newline. */
export function formatTable(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const lines = [head, ...rows].map((row) => row.map(formatCell));
  const colWidths = head.map((_, column) =>
    lines.reduce((width, row) => Math.max(width, Bun.stringWidth(row[column] ?? "")), 0),
  );
  let text = "";
  for (let start = 0; start < lines.length; start += BLOCK) {
    const table = new Table({ chars: { ...NO_BORDERS, middle: "   " }, style, colWidths });
    table.push(...lines.slice(start, start + BLOCK));
    for (const line of table.toString().split("\n")) text += `${line.trimEnd()}\n`;
  }
  return text;
}

function formatCell(cell: Cell): string {
  if (typeof cell === "string") return escapeControls(cell);
  return cell.style(escapeControls(cell.text));
}
