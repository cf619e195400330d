import type { RecordedEvent } from "../../../kubernetes/events.ts";
import { createRecordingLog } from "../../../program/testing.ts";
import type { FindConsumers } from "../claims/consumers.ts";

/** Records events about one pod, which uses all claims. An event for which `refusal` is set fails. */
export function recordEvents() {
  const events: RecordedEvent[] = [];
  const lines: string[] = [];
  const control: { refusal?: string } = {};
  const object = { kind: "Pod", apiVersion: "v1", namespace: "team", name: "train", uid: "uid-of-train" };
  const findConsumers: FindConsumers = async () => [object];
  return {
    events,
    lines,
    control,
    object,
    options: {
      findConsumers,
      async record(event: RecordedEvent) {
        if (control.refusal) throw new Error(control.refusal);
        events.push(event);
      },
      log: createRecordingLog(lines),
    },
  };
}
