import { ANNOTATIONS } from "./keys.ts";
import { Refusal } from "./refusal.ts";

/** full: client, tokens and command; injection: client and tokens, the command stays; off: the pod is left alone. */
export type Mode = "full" | "injection" | "off";

const MODES: Readonly<Record<string, Mode>> = {
  all: "full",
  on: "full",
  true: "full",
  y: "full",
  yes: "full",
  injection: "injection",
  n: "off",
  no: "off",
  none: "off",
  off: "off",
  false: "off",
};

/** What the pod's annotation says; off without one. @throws {Refusal} lists the values that mean something. */
export function readMode(annotations: Readonly<Record<string, string>>): Mode {
  const value = annotations[ANNOTATIONS.mode];
  if (value === undefined) return "off";
  const key = value.toLowerCase();
  const mode = Object.hasOwn(MODES, key) ? MODES[key] : undefined; // else "constructor" were a mode
  if (mode) return mode;
  throw new Refusal(
    "mode",
    `Annotation ${ANNOTATIONS.mode} is "${value}": expected one of ${Object.keys(MODES).join(", ")}`,
  );
}
