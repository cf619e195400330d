import { expect, test } from "bun:test";
import type { Logger } from "../program/log/log.ts";
import { createDrainReport } from "./drain.ts";

const lease = (pod: string) => ({ owner: { namespace: "team", pod, container: "main" } });

function start() {
  const logged: [string, object?][] = [];
  const log = { info: (...entry: [string, object?]) => logged.push(entry) } as unknown as Logger;
  let time = 1000;
  const report = createDrainReport({ now: () => time, log });
  /** Reports after `ms`. Returns what was logged. */
  return (ms: number, ...[draining, leases]: Parameters<typeof report>) => {
    time += ms;
    report(draining, leases);
    return logged.splice(0);
  };
}

const drainingWith = (...pods: string[]) => [
  "Draining: no new pods, waiting for leases to end",
  { leases: pods.length, owners: pods.map((pod) => lease(pod).owner) },
];
const DRAINED = ["Drained: no lease is left, the server can be stopped"];

test("createDrainReport() tells once who holds leases, and that none is left after ten quiet seconds", () => {
  const report = start();
  expect(report(0, false, [lease("a")])).toEqual([]);
  expect(report(1000, true, [lease("a"), lease("b")])).toEqual([drainingWith("a", "b")] as never);
  expect(report(60_000, true, [lease("a"), lease("b")])).toEqual([]);
  expect(report(1000, true, [lease("b")])).toEqual([drainingWith("b")] as never);
  expect(report(1000, true, [])).toEqual([drainingWith()] as never);
  expect(report(9999, true, [])).toEqual([]);
  expect(report(1, true, [])).toEqual([DRAINED] as never);
  expect(report(60_000, true, [])).toEqual([]);
});

test("createDrainReport() waits again for a lease that came late", () => {
  const report = start();
  report(0, true, []);
  expect(report(9000, true, [lease("late")])).toEqual([drainingWith("late")] as never);
  expect(report(9000, true, [])).toEqual([drainingWith()] as never);
  expect(report(9999, true, [])).toEqual([]);
  expect(report(1, true, [])).toEqual([DRAINED] as never);
});

test("createDrainReport() says when draining ends, and begins anew afterwards", () => {
  const report = start();
  report(0, true, []);
  expect(report(60_000, false, [])).toEqual([["Draining ended: the server takes new pods"]]);
  expect(report(1000, false, [])).toEqual([]);
  expect(report(1000, true, [])).toEqual([drainingWith()] as never);
});

test("createDrainReport() names at most 20 owners", () => {
  const [[, fields] = []] = start()(
    0,
    true,
    Array.from({ length: 30 }, (_, index) => lease(`pod-${index}`)),
  );
  expect(fields).toMatchObject({ leases: 30, owners: { length: 20 } });
});
