import type { CoreV1Api } from "@kubernetes/client-node";

export interface EventRecorderOptions {
  core: CoreV1Api;
  /** Of events that name no other. */
  namespace: string;
  /** Name of the program, such as bitfusion-webhook. */
  component: string;
}

export interface RecordedEvent {
  /** The object in the namespace that it is about. */
  readonly kind: string;
  readonly name: string;
  readonly apiVersion: string;
  readonly namespace?: string;
  /** `kubectl describe` finds the Events of a pod by it. */
  readonly uid?: string;
  readonly type: "Normal" | "Warning";
  /** In CamelCase. */
  readonly reason: string;
  /** At most 1024 characters. */
  readonly message: string;
}

export type EventRecorder = (event: RecordedEvent) => Promise<void>;

/** Records what `kubectl describe` and `kubectl events` show of an object. */
export function createEventRecorder({ core, namespace: own, component }: EventRecorderOptions): EventRecorder {
  return async ({ kind, name, apiVersion, namespace = own, uid, type, reason, message }) => {
    const now = new Date();
    await core.createNamespacedEvent({
      namespace,
      body: {
        metadata: { generateName: `${name}.` },
        involvedObject: { kind, name, namespace, apiVersion, ...(uid ? { uid } : {}) },
        type,
        reason,
        message: message.slice(0, 1024),
        source: { component },
        reportingComponent: component,
        firstTimestamp: now,
        lastTimestamp: now,
        count: 1,
      },
    });
  };
}
