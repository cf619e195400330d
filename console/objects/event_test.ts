import { expect, test } from "bun:test";
import { lastSeen } from "./event.ts";

test("lastSeen() reads the times of both APIs of events, the latest first", () => {
  const event = { metadata: { name: "x" }, involvedObject: { kind: "Pod", name: "train" } };
  const [first, last] = ["2026-11-29T12:00:00Z", "2026-11-29T12:05:00Z"];
  expect(lastSeen({ ...event, firstTimestamp: first, lastTimestamp: last, eventTime: null })).toBe(Date.parse(last));
  expect(lastSeen({ ...event, firstTimestamp: null, eventTime: first })).toBe(Date.parse(first));
  expect(lastSeen({ ...event, eventTime: first, series: { count: 2, lastObservedTime: last } })).toBe(Date.parse(last));
  expect(lastSeen(event)).toBe(0);
});
