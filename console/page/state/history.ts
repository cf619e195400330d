import { formatTime } from "../../../kubernetes/formats/time.ts";
import type { HistoryRow, Rows } from "./wire.ts";

/** Time between two samples, in ms. */
export const SAMPLE_INTERVAL = 15_000;

/** Number of samples: those of an hour. */
const MAX_SAMPLES = 240;

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
        if (samples.size <= MAX_SAMPLES && Date.parse(time) > now - MAX_SAMPLES * SAMPLE_INTERVAL) break;
        samples.delete(time);
      }
    },
    get samples() {
      return Object.fromEntries(samples);
    },
  };
}
