import type { ApiObject } from "../../kubernetes/watch.ts";

/** Path of the collection of all Events. */
export const EVENTS = "/api/v1/events";

/** The fields of an Event (k8s.io/api/core/v1) that the console shows. */
export interface KubernetesEvent extends ApiObject {
  readonly involvedObject: {
    readonly kind: string;
    readonly namespace?: string;
    readonly name: string;
    readonly uid?: string;
  };
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly count?: number;
  /** RFC 3339, as the times below. */
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  /** Set instead of the two above by programs that use the newer API. */
  readonly eventTime?: string | null;
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

/** When an event was seen last, in ms since the epoch. 0 if it does not say. */
export function lastSeen({ series, lastTimestamp, eventTime, firstTimestamp }: KubernetesEvent): number {
  const time = series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? firstTimestamp;
  return time ? Date.parse(time) : 0;
}
