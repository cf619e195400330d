import { expect, test } from "bun:test";
import { addRoundTrip, medianOf, type Path } from "./path.ts";

/** Whether the path is slow after each of these round trips, with a limit of 4 ms. */
function slowAfter(times: readonly number[], limit = 4): boolean[] {
  let path: Path | undefined;
  return times.map((time) => {
    path = addRoundTrip(path, time, limit);
    return path.isSlow;
  });
}

test("a path is slow once the median of five round trips is above the limit", () => {
  expect(slowAfter([5, 5, 5, 5, 5])).toEqual([false, false, false, false, true]);
  expect(slowAfter([1, 1, 5, 5, 5])).toEqual([false, false, false, false, true]);
  expect(slowAfter([4, 4, 4, 4, 4])).not.toContain(true);
});

test("two outliers of five make no path slow, however slow they are", () => {
  expect(slowAfter([1, 1, 1, 1, 1, 800, 800, 1, 1, 1])).not.toContain(true);
});

test("a slow path stays slow while its median is close to the limit, and recovers at three quarters of it", () => {
  expect(slowAfter([5, 5, 5, 5, 5, 3.5, 3.5, 3.5, 3.5, 3.5]).slice(4)).not.toContain(false);
  expect(slowAfter([5, 5, 5, 5, 5, 3, 3, 3]).slice(4)).toEqual([true, true, true, false]);
});

test("no path is slow with the limit 0", () => {
  expect(slowAfter([800, 800, 800, 800, 800], 0)).not.toContain(true);
});

test("medianOf() is the middle one of the last five round trips", () => {
  const path = [900, 30, 7, 1, 2, 50].reduce<Path | undefined>((path, time) => addRoundTrip(path, time, 4), undefined);
  expect(path && medianOf(path)).toBe(7);
});
