import { expect, test } from "bun:test";
import { deviceName } from "../../../pool/device_name.ts";
import { claimHealth } from "../health/testing.ts";
import { createHeldEvents } from "./held_events.ts";
import { recordEvents } from "./testing.ts";

function start() {
  const recorded = recordEvents();
  const held = createHeldEvents({ ...recorded.options, signal: new AbortController().signal });
  return { held, ...recorded };
}

/** A claim that one pod got half of a GPU for just now. */
function prepared(uid: string, gpuId: string, model: string, pod: ReturnType<typeof start>["object"]) {
  const location = { address: "gpu-a:56001", gpuId, model };
  const locations = new Map([[deviceName(gpuId), location]]);
  return { claim: claimHealth({}, uid, gpuId).claim, granted: { locations, pods: [pod] } };
}

test("a pod is told once of all GPUs that it holds", async () => {
  const { held, events, object } = start();
  held.tell([prepared("uid-1", "a/0", "Tesla T4", object), prepared("uid-2", "b/0", "L4", object)]);
  await held[Symbol.asyncDispose]();
  const message = "Holds 50 % of Tesla T4 on gpu-a:56001, 50 % of L4 on gpu-a:56001";
  expect(events).toEqual([{ object, type: "Normal", reason: "HoldsGPUs", message }]);
});

test("a call that has prepared nothing anew tells nobody", async () => {
  const { held, events } = start();
  held.tell([]);
  await held[Symbol.asyncDispose]();
  expect(events).toEqual([]);
});

test("a refused event is logged", async () => {
  const { held, control, lines, object } = start();
  control.refusal = "exceeded quota";
  held.tell([prepared("uid-1", "a/0", "Tesla T4", object)]);
  await held[Symbol.asyncDispose]();
  expect(lines).toEqual([expect.stringMatching(/^Cannot tell pods of their GPUs.*exceeded quota/)]);
});
