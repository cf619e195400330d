import { expect, test } from "bun:test";
import type { ResourceSlice } from "../../../kubernetes/objects/resource_slice.ts";
import { deviceName } from "../../../pool/device_name.ts";
import { claimHealth } from "../health/testing.ts";
import { createHeldEvents } from "./held_events.ts";
import { recordEvents } from "./testing.ts";

const SLICE = {
  spec: { devices: [{ name: deviceName("a/0"), attributes: { model: { string: "Tesla T4" } } }] },
} as unknown as ResourceSlice;

function start() {
  const recorded = recordEvents();
  const held = createHeldEvents({
    ...recorded.options,
    readSlice: async (name) => (name === "bitfusion-0" ? SLICE : undefined),
    signal: new AbortController().signal,
  });
  return { held, ...recorded };
}

test("a pod is told once of all GPUs that it holds", async () => {
  const { held, events, object } = start();
  held.tell([claimHealth({}, "uid-1", "a/0").claim, claimHealth({}, "uid-2", "b/0").claim]);
  await held[Symbol.asyncDispose]();
  const other = `50 % of ${deviceName("b/0")} on gpu-a:56001`; // the slice has no such GPU any more
  expect(events).toEqual([
    { object, type: "Normal", reason: "HoldsGPUs", message: `Holds 50 % of Tesla T4 on gpu-a:56001, ${other}` },
  ]);
});

test("a call that has prepared nothing anew tells nobody", async () => {
  const { held, events } = start();
  held.tell([]);
  await held[Symbol.asyncDispose]();
  expect(events).toEqual([]);
});

test("a refused event is logged", async () => {
  const { held, control, lines } = start();
  control.refusal = "exceeded quota";
  held.tell([claimHealth().claim]);
  await held[Symbol.asyncDispose]();
  expect(lines).toEqual([expect.stringMatching(/^Cannot tell pods of their GPUs.*exceeded quota/)]);
});
