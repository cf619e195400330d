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

/** Formats a table without borders, as kubectl does. It ends with a newline. */
export function formatTable(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const table = new Table({ chars: { ...NO_BORDERS, middle: "   " }, style });
  table.push([...head], ...rows.map((row) => row.map(formatCell)));
  const lines = table.toString().split("\n");
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

function formatCell(cell: Cell): string {
  if (typeof cell === "string") return escapeControls(cell);
  return cell.style(escapeControls(cell.text));
}
