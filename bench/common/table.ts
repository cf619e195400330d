/** Formats rows as a Markdown table, with a column for each key that any row has. */
export function toMarkdown(rows: readonly Readonly<Record<string, string>>[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const body = rows.map((row) => line(columns.map((column) => row[column] ?? "")));
  return line(columns) + line(columns.map(() => "---")) + body.join("");
}
