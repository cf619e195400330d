import { type PollOptions, poll } from "../../program/poll.ts";
import { type Catalogue, readCatalogue } from "./catalogue.ts";

/** How often the file is read, in ms. The kubelet takes longer than that to update a mounted ConfigMap. */
const PERIOD = 5000;

export interface CatalogueSourceOptions extends Pick<PollOptions, "onFailure"> {
  path: string;
}

/**
 * Yields the catalogue, and each one that replaces it. Ends with the signal.
 *
 * @throws {ConfigError} if the first one is invalid.
 */
export function followCatalogue(
  { path, onFailure }: CatalogueSourceOptions,
  signal: AbortSignal,
): AsyncGenerator<Catalogue> {
  return poll(() => readCatalogue(path), { period: PERIOD, onFailure }, signal);
}
