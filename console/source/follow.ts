import { setTimeout as wait } from "node:timers/promises";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ApiObject, type ObjectChange, watchObjects } from "../../kubernetes/watch.ts";
import { createLatest } from "../../program/latest.ts";
import type { Logger } from "../../program/log/log.ts";
import type { PoolState, Unread } from "./pool_objects.ts";
import { findPlace, keepIf, type ReadOptions, type ReadResult, resourcesOf, stateOf } from "./read.ts";
import type { Resource } from "./resources.ts";
import { describeFailure, isForbidden } from "./unread.ts";

export interface FollowOptions extends ReadOptions {
  log: Logger;
  /** Time after which a resource that could not be read is tried again, in ms. */
  retryAfter?: number;
}

/**
 * Follows what the API server knows of the pool. Yields a state when each resource was read or could not be, and then after changes; a slow
 * reader skips states. Objects and lists that have not changed stay the same. Ends with the signal.
 */
export async function* followPool(options: FollowOptions, signal: AbortSignal): AsyncGenerator<PoolState> {
  const resources = resourcesOf(options);
  const results = new Map<Resource, ReadResult>();
  const states = createLatest<PoolState>();
  const end = new AbortController();
  const stopped = AbortSignal.any([signal, end.signal]);
  const report = (result: ReadResult) => {
    results.set(result.resource, result);
    if (results.size === resources.length) {
      states.set(stateOf(resources.flatMap((resource) => results.get(resource) ?? [])));
    }
  };
  const running = resources.map((resource) => followResource(resource, { ...options, report }, stopped));
  // A fault in the code of one ends all.
  const failed = Promise.all(running).catch((error) => end.abort(error));
  try {
    yield* states.changes(stopped);
    if (!signal.aborted) stopped.throwIfAborted();
  } finally {
    end.abort();
    await failed;
  }
}

/** Reports the objects of one resource, and again after each change. Ends with the signal. */
async function followResource(
  resource: Resource,
  { report, ...options }: FollowOptions & { report: (result: ReadResult) => void },
  signal: AbortSignal,
): Promise<void> {
  const { log, retryAfter = 10_000 } = options;
  while (!signal.aborted) {
    const place = await findPlace(resource, options, signal).catch((error) => {
      if (!signal.aborted) throw error;
    });
    if (signal.aborted) return;
    if (place?.path === undefined) {
      report(place ? { resource, unread: place.unread } : { resource, objects: [] });
      await sleep(retryAfter, signal);
      continue;
    }
    const { path, unread } = place;
    await watchPlace(resource, { request: options.request, log, path, unread, report }, signal);
  }
}

interface WatchedPlace {
  request: KubernetesRequest;
  log: Logger;
  path: string;
  unread: Unread | undefined;
  report: (result: ReadResult) => void;
}

async function watchPlace(
  resource: Resource,
  { request, log, path, unread, report }: WatchedPlace,
  signal: AbortSignal,
): Promise<void> {
  const objects = new Map<string, ApiObject>();
  let list: readonly ApiObject[] = [];
  let failure: Unread | undefined;
  const tell = () => report({ resource, objects: list, unread: failure ?? unread });
  const onOutcome = (error: unknown) => {
    const message = error === undefined ? undefined : describeFailure(`watch ${resource.name}`, error);
    if (message === failure?.message) return;
    failure =
      message === undefined
        ? undefined
        : { kind: resource.kind, resource: resource.name, isForbidden: isForbidden(error), message };
    tell();
  };
  const { query = {}, isOfPool } = resource;
  const watch = { request, path, query, transform: keepIf(isOfPool), log, onOutcome };
  for await (const change of watchObjects<ApiObject, ApiObject>(watch, signal)) {
    if (!apply(objects, change)) continue;
    list = [...objects.values()];
    tell();
  }
}

/** Applies a change. Returns whether it changed anything. */
function apply(objects: Map<string, ApiObject>, change: ObjectChange<ApiObject>): boolean {
  if (change.type === "delete") return objects.delete(change.key);
  if (change.type === "put") objects.set(change.key, change.object);
  else {
    objects.clear();
    for (const [key, object] of change.objects) objects.set(key, object);
  }
  return true;
}

/** Waits, or returns when the signal is aborted. */
async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { signal }).catch(() => {}); // rejects only when aborted
}
