import { type PollOptions, poll } from "../../program/poll.ts";
import { type Catalogue, readCatalogue } from "./catalogue.ts";

/** How often the file is looked at, in ms: what the kubelet changes in a mounted ConfigMap takes longer to arrive. */
const PERIOD = 5000;

export interface CatalogueSourceOptions extends Pick<PollOptions, "onFailure"> {
  path: string;
}

/** The catalogue, then each that takes its place. Ends with the signal. @throws {ConfigError} at first, when it cannot be used. */
export function followCatalogue(
  { path, onFailure }: CatalogueSourceOptions,
  signal: AbortSignal,
): AsyncGenerator<Catalogue> {
  return poll(() => readCatalogue(path), { period: PERIOD, onFailure }, signal);
}
