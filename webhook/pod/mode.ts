import { quote } from "../../program/text/quote.ts";
import { ANNOTATIONS } from "./keys.ts";
import { Refusal } from "./refusal.ts";

/**
 * What the webhook does with a pod:
 *
 * - `full`: it attaches the client, and the command runs under the client.
 * - `injection`: it attaches the client and leaves the command alone.
 * - `off`: it leaves the pod alone.
 */
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

/**
 * The mode that a pod's annotation chooses; `off` without the annotation.
 *
 * @throws {Refusal} lists the valid values.
 */
export function readMode(annotations: Readonly<Record<string, string>>): Mode {
  const value = annotations[ANNOTATIONS.mode];
  if (value === undefined) return "off";
  const key = value.toLowerCase();
  const mode = Object.hasOwn(MODES, key) ? MODES[key] : undefined; // "constructor" is not a mode
  if (mode) return mode;
  throw new Refusal(
    "mode",
    `Annotation ${ANNOTATIONS.mode} is ${quote(value)}: expected one of ${Object.keys(MODES).join(", ")}`,
  );
}
