import { formatTime } from "../../../kubernetes/formats/time.ts";
import type { HistoryRow, Rows } from "./wire.ts";

/** Time between two samples, in ms. */
export const SAMPLE_INTERVAL = 15_000;

/** How long samples are kept, in ms. */
const SPAN = 3_600_000;

/** The use of the pool over the last hour. It is lost with the program. */
export interface History {
  /** @param now in ms since the epoch. */
  add(sample: HistoryRow, now: number): void;
  readonly samples: Rows<HistoryRow>;
}

export function createHistory(): History {
  const samples = new Map<string, HistoryRow>();
  return {
    add(sample, now) {
      samples.set(formatTime(now), sample);
      for (const time of samples.keys()) {
        if (Date.parse(time) > now - SPAN) break; // they are in the order of time
        samples.delete(time);
      }
    },
    get samples() {
      return Object.fromEntries(samples);
    },
  };
}
