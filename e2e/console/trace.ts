import type { Browser, Page } from "playwright-core";

/** What a browser does between the arrival of a change and the pixels: script, style, layout and paint. */
const WORK = ["EventDispatch", "FireAnimationFrame", "UpdateLayoutTree", "Layout", "PrePaint", "Paint", "Layerize"];

/** The name of the measure that the page makes for each update. */
const UPDATE = "update";

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  /** In µs. */
  readonly ts: number;
  /** In µs. */
  readonly dur?: number;
  readonly pid: number;
  readonly tid: number;
}

/**
 * Records the browser's own trace while `change` runs. Returns how long the main thread worked for each update of the page, in ms: from
 * one update to the next.
 */
export async function traceUpdates(browser: Browser, page: Page, change: () => Promise<void>): Promise<number[]> {
  await browser.startTracing(page, {
    categories: ["devtools.timeline", "blink.user_timing", "disabled-by-default-devtools.timeline"],
  });
  await change();
  const trace = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: readonly TraceEvent[] };
  const updates = trace.traceEvents.filter(({ name, ph }) => name === UPDATE && ph === "b").sort((a, b) => a.ts - b.ts);
  const [first] = updates;
  if (!first) throw new Error(`The trace has no measure "${UPDATE}"`);
  const work = trace.traceEvents.filter(({ name, ph, pid }) => pid === first.pid && ph === "X" && WORK.includes(name));
  // The message of an update arrives before its measure, and its layout comes after it.
  const bounds = updates.map(
    ({ ts }, index) => ts - Math.min(50_000, index === 0 ? 50_000 : (ts - (updates[index - 1]?.ts ?? 0)) / 2),
  );
  return bounds.map((start, index) => {
    const end = bounds[index + 1] ?? Number.POSITIVE_INFINITY;
    return unionOf(work.filter(({ ts }) => ts >= start && ts < end)) / 1000;
  });
}

/** The time that is in any of the events, which may be nested, in µs. */
function unionOf(events: readonly TraceEvent[]): number {
  let [sum, until] = [0, Number.NEGATIVE_INFINITY];
  for (const { ts, dur = 0 } of events.toSorted((a, b) => a.ts - b.ts)) {
    sum += Math.max(0, ts + dur - Math.max(ts, until));
    until = Math.max(until, ts + dur);
  }
  return sum;
}
