import { createHash } from "node:crypto";
import { escapeControls } from "../program/text/quote.ts";
import { isStatus } from "./error.ts";
import { formatTime } from "./formats/time.ts";
import type { KubernetesRequest } from "./request.ts";

export interface EventRecorderOptions {
  request: KubernetesRequest;
  /** Name of the program, such as bitfusion-webhook. */
  component: string;
  /** Whether the count of an event that exists goes up. This needs the rights to get and patch events. By default true. */
  countsRepeats?: boolean;
}

/** The object that an event is about. */
export interface ObjectReference {
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace: string;
  readonly name: string;
  /** `kubectl describe` selects the events of a pod by it. */
  readonly uid?: string;
}

export interface RecordedEvent {
  readonly object: ObjectReference;
  readonly type: "Normal" | "Warning";
  /** In CamelCase. */
  readonly reason: string;
  /** At most 1024 characters; the rest is cut off. Control characters are escaped. */
  readonly message: string;
}

/**
 * Records an event (k8s.io/api/core/v1) in the object's namespace. If the same event exists, its count goes up instead,
 * also if another replica recorded it; a recorder that does not count leaves it as it is.
 *
 * @throws {KubernetesError}
 */
export type EventRecorder = (event: RecordedEvent) => Promise<void>;

const MAX_MESSAGE = 1024;

/** Longest name of an object (DNS subdomain). */
const MAX_NAME = 253;

/** Creates the recorder of a program. */
export function createEventRecorder({ request, component, countsRepeats = true }: EventRecorderOptions): EventRecorder {
  return async ({ object, type, reason, message: text }) => {
    const message = escapeControls(text).slice(0, MAX_MESSAGE);
    const collection = `/api/v1/namespaces/${object.namespace}/events`;
    const name = eventName(object, reason, message);
    const now = formatTime(Date.now());
    const body = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name, namespace: object.namespace },
      involvedObject: object,
      type,
      reason,
      message,
      source: { component },
      reportingComponent: component,
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    try {
      await request(collection, { method: "POST", body });
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      if (countsRepeats) await countAgain(`${collection}/${name}`, now);
    }
  };

  async function countAgain(path: string, lastTimestamp: string): Promise<void> {
    const { count = 1 } = (await (await request(path)).json()) as { count?: number };
    const contentType = "application/merge-patch+json";
    await request(path, { method: "PATCH", contentType, body: { count: count + 1, lastTimestamp } });
  }
}

/** The same for the same object, reason and message. */
function eventName({ kind, name, uid = "" }: ObjectReference, reason: string, message: string): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([kind, name, uid, reason, message]))
    .digest("hex");
  const suffix = `.${hash.slice(0, 16)}`;
  return name.slice(0, MAX_NAME - suffix.length) + suffix;
}
