/** How long a line is not printed again, in ms. */
const PERIOD = 60_000;

/**
 * Creates a function that prints what changes: not the line that it printed last, and no line twice in a minute. So many connections that
 * fail, or fail and recover in turn, do not fill the log.
 *
 * @param now returns a time, in ms.
 */
export function createChangePrinter(
  print: (line: string) => void,
  now = () => performance.now(),
): (line: string) => void {
  /** When each line of the last minute was printed, the newest last. */
  const printed = new Map<string, number>();
  let last: string | undefined;
  return (line) => {
    for (const [old, at] of printed) if (now() - at >= PERIOD) printed.delete(old);
    if (line === last || printed.has(line)) return;
    printed.set(line, now());
    last = line;
    print(line);
  };
}
