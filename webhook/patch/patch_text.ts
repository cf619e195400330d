import type { Operation } from "rfc6902";

/** A JSON Patch (RFC 6902), as runs of operations. */
export type Patch = readonly Run[];

export type Run = readonly Operation[];

/** Texts of the runs that many patches have. */
const texts = new WeakMap<Run, string>();

/** What a text is filled up with, so that base64 of the next can follow its own: JSON takes spaces between its tokens. */
const FILLING = ["", "  ", " "];

const BEGIN = encode("[");
const BETWEEN = encode(",");
const END = encode("]");

/** Writes a run down for all patches that will have it: it took longer than all else. It must not be changed afterwards. */
export function keepText(run: Run): Run {
  texts.set(run, textOf(run));
  return run;
}

/** A patch as AdmissionReviews carry it: base64 of JSON. */
export function encodePatch(patch: Patch): string {
  let text = "";
  for (const run of patch) {
    if (run.length > 0) text += (text ? BETWEEN : BEGIN) + (texts.get(run) ?? textOf(run));
  }
  return (text || BEGIN) + END;
}

/** Without the brackets. */
function textOf(run: Run): string {
  return encode(JSON.stringify(run).slice(1, -1));
}

/** Of UTF-8, and of whole groups of three bytes. Most patches are ASCII, for which btoa takes a quarter of the time. */
function encode(text: string): string {
  const length = Buffer.byteLength(text);
  const filled = text + FILLING[length % 3];
  return length === text.length ? btoa(filled) : Buffer.from(filled).toString("base64");
}
