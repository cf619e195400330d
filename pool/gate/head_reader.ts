/** Longest head of a request, in bytes. */
export const MAX_HEAD = 8192;

const EMPTY_LINE = "\r\n\r\n";

/** Collects the head of a request: what comes before the first empty line. */
export interface HeadReader {
  /** Takes bytes. Returns the head, each byte one character, and what has come after it; undefined if more bytes must come first. */
  read(bytes: Buffer): { readonly head: string; readonly rest: Buffer } | undefined;
  /** Whether the head is longer than {@link MAX_HEAD}. */
  readonly isTooLong: boolean;
}

export function createHeadReader(): HeadReader {
  let received = Buffer.alloc(0);
  let length = -1;
  return {
    read(bytes) {
      const searched = Math.max(0, received.length - EMPTY_LINE.length + 1);
      received = Buffer.concat([received, bytes]);
      length = received.indexOf(EMPTY_LINE, searched);
      if (length < 0) return undefined;
      return { head: received.toString("latin1", 0, length), rest: received.subarray(length + EMPTY_LINE.length) };
    },
    get isTooLong() {
      return (length < 0 ? received.length : length) > MAX_HEAD;
    },
  };
}
