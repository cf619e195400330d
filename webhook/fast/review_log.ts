/** The log entry of a review. */
export interface ReviewLogEntry {
  readonly webhook: string;
  readonly uid: string | undefined;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly result: string;
  readonly reason: string;
  readonly dryRun: boolean | undefined;
}

/** Control characters that JSON.stringify() leaves as they are, and terminals interpret. */
const CONTROL = /[\u007f-\u009f]/g;

/**
 * Returns a function that logs reviews in the format of the logger, past the library: it looks up categories, filters and sinks for each
 * record, which takes a twentieth of a review (80 paired runs).
 *
 * @param writeLine the line output of the program
 * @param now in ms since the epoch
 */
export function createReviewLog(
  program: string,
  writeLine: (line: string) => void,
  now: () => number = Date.now,
): (entry: ReviewLogEntry) => void {
  return (entry) => {
    const head = {
      "@timestamp": new Date(now()).toISOString(),
      level: "INFO",
      message: "Reviewed",
      logger: program,
    };
    const line = JSON.stringify({ ...head, ...entry });
    writeLine(`${line.replace(CONTROL, toEscape)}\n`);
  };
}

function toEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
