import Table from "cli-table3";
import { createPatch } from "diff";
import colors from "picocolors";
import { Document, visit } from "yaml";

/** Prints a numbered heading with an explanation of what follows. */
export function heading(number: number, title: string, explanation: string): void {
  console.log(`\n${colors.bold(`${number}  ${title}`)}`);
  console.log(`${colors.dim(explanation)}\n`);
}

/** Prints an explanation of what follows, below a heading. */
export function explain(text: string): void {
  console.log(`\n${colors.dim(text)}\n`);
}

/** Prints evidence. */
export function show(text: string): void {
  for (const line of text.trimEnd().split("\n")) console.log(`   ${line}`.trimEnd());
}

export function table(head: string[], rows: string[][]): void {
  const borders = ["top", "bottom", "left", "mid", "right"].flatMap((name) => [name, `${name}-mid`]);
  const corners = ["top", "bottom"].flatMap((name) => [`${name}-left`, `${name}-right`]);
  const none = Object.fromEntries([...borders, ...corners].map((name) => [name, ""]));
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const cells = new Table({ head: head.map((title) => colors.dim(title)), chars: { ...none, middle: "  " }, style });
  cells.push(...rows);
  show(cells.toString());
}

/**
 * Formats an object as YAML 1.1, which kubectl reads: an unquoted yes is a boolean.
 *
 * @param inline keys whose values are on one line.
 */
export function toYaml(object: object, inline: readonly string[] = []): string {
  const document = new Document(object, { version: "1.1" });
  visit(document, {
    Pair(_, { key, value }) {
      if (inline.includes(String(key)) && value && typeof value === "object") Object.assign(value, { flow: true });
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/** Prints a text with the lines that differ from the text before. */
export function difference(before: string, after: string): void {
  const [, , , , ...lines] = createPatch("", before, after, "", "", { context: 100 }).split("\n");
  for (const line of lines) {
    if (line.startsWith("+")) show(colors.green(line));
    else if (line.startsWith("-")) show(colors.red(line));
    else if (line.startsWith(" ")) show(line);
  }
}
