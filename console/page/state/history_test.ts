import { expect, test } from "bun:test";
import { createHistory, SAMPLE_INTERVAL } from "./history.ts";

const sample = (held: number) => ({ total: 100, held, free: 100 - held, blocked: 0, waiting: 0 });

test("createHistory() keeps the samples of the last hour", () => {
  const history = createHistory();
  const start = Date.parse("2026-11-29T12:00:00Z");
  for (let index = 0; index < 300; index++) history.add(sample(index % 100), start + index * SAMPLE_INTERVAL);
  const times = Object.keys(history.samples);
  expect([times.length, times[0], times.at(-1)]).toEqual([240, "2026-11-29T12:15:00Z", "2026-11-29T13:14:45Z"]);
  expect(history.samples["2026-11-29T13:14:45Z"]).toEqual(sample(99));
});

test("createHistory() drops samples from before a pause of the program", () => {
  const history = createHistory();
  history.add(sample(1), Date.parse("2026-11-29T12:00:00Z"));
  history.add(sample(2), Date.parse("2026-11-29T14:00:00Z"));
  expect(Object.keys(history.samples)).toEqual(["2026-11-29T14:00:00Z"]);
});
