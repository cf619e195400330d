/** Number of colors of shares: classes `c0`, `c1` and so on in page.css. */
const COLORS = 8;

const known = new Map<string, string>();

/** The class with the color of a namespace. Two namespaces share a color only when there are more of them than colors. */
export function colorOf(namespace: string): string {
  const color = known.get(namespace) ?? `c${known.size % COLORS}`;
  known.set(namespace, color);
  return color;
}
