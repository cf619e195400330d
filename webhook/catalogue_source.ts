import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { ConfigError } from "../program/config_error.ts";
import { type Catalogue, readCatalogue } from "./catalogue.ts";

/** How often the file is looked at, in ms: what the kubelet changes in a mounted ConfigMap takes longer to arrive. */
const PERIOD = 5000;

export interface CatalogueSourceOptions {
  path: string;
  /** Told once of each change that cannot be used; the last good catalogue stays in force. */
  onBroken: (error: ConfigError) => void;
}

/** The catalogue, then each that takes its place. Ends with the signal. @throws {ConfigError} at first, when it cannot be used. */
export async function* followCatalogue(
  { path, onBroken }: CatalogueSourceOptions,
  signal: AbortSignal,
): AsyncGenerator<Catalogue> {
  let last = await readCatalogue(path);
  yield last;
  let complaint: string | undefined;
  for (;;) {
    await sleep(PERIOD, undefined, { signal }).catch(() => {}); // only the signal ends it early
    if (signal.aborted) return;
    try {
      const next = await readCatalogue(path);
      complaint = undefined;
      if (isDeepStrictEqual(next, last)) continue;
      last = next;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      if (error.message !== complaint) onBroken(error);
      complaint = error.message;
      continue;
    }
    yield last;
  }
}
