import type { ApiObject } from "../watch.ts";

/** Path of the collection of all Events. */
export const EVENTS = "/api/v1/events";

/** The fields of an Event (k8s.io/api/core/v1) that the programs read. */
export interface Event extends ApiObject {
  readonly involvedObject: {
    readonly kind?: string;
    readonly namespace?: string;
    readonly name?: string;
    readonly uid?: string;
  };
  readonly type?: string;
  /** In CamelCase. */
  readonly reason?: string;
  readonly message?: string;
  readonly count?: number;
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  /** When it was first seen, in events of events.k8s.io. */
  readonly eventTime?: string | null;
  /** Of an event of events.k8s.io that was seen several times. */
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
  readonly metadata: ApiObject["metadata"] & { readonly creationTimestamp?: string };
}

/** When an event was seen last: RFC 3339. Empty if it does not tell. */
export function lastSeen({ series, lastTimestamp, eventTime, firstTimestamp, metadata }: Event): string {
  return series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? firstTimestamp ?? metadata.creationTimestamp ?? "";
}

/** How often an event was seen. */
export function timesSeen({ series, count }: Event): number {
  return series?.count ?? count ?? 1;
}
