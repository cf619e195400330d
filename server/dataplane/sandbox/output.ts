/** Longest line of a process that is logged, in characters. The rest of a longer one is dropped. */
const MAX_LINE = 1024;
/** Most lines of a process that are logged in {@link PERIOD}: a tenant makes the process write them. */
const MAX_LINES = 100;
/** In ms. */
const PERIOD = 10_000;

/**
 * Reads the output of a process line by line until it ends. At most 100 lines in ten seconds are passed on; the next one that is tells
 * how many were dropped before it.
 */
export async function readLines(
  output: ReadableStream<Uint8Array<ArrayBuffer>>,
  onLine: (line: string, dropped: number) => void,
  now = () => performance.now(),
): Promise<void> {
  let [periodEnd, lines, dropped] = [0, 0, 0];
  function pass(line: string): void {
    if (line === "") return;
    if (now() >= periodEnd) [periodEnd, lines] = [now() + PERIOD, 0];
    lines += 1;
    if (lines > MAX_LINES) {
      dropped += 1;
      return;
    }
    onLine(line, dropped);
    dropped = 0;
  }
  let rest = "";
  for await (const text of output.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = (parts.pop() ?? "").slice(0, MAX_LINE);
    for (const part of parts) pass(part.slice(0, MAX_LINE));
  }
  pass(rest);
}
