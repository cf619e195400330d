import { type Backoff, createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { isStatus, KubernetesError } from "./error.ts";
import type { KubernetesRequest } from "./request.ts";

/** The fields of an object that a watch needs. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
  };
}

/** A change of a collection. Keys are `namespace/name`, or `name` for cluster-scoped objects. */
export type ObjectChange<T> =
  | { readonly type: "replace"; readonly objects: ReadonlyMap<string, T> }
  | { readonly type: "put"; readonly key: string; readonly object: T }
  | {
      readonly type: "delete";
      readonly key: string /** Version of the deletion. */;
      readonly resourceVersion?: string;
    };

export interface WatchOptions<Raw extends ApiObject, T> {
  request: KubernetesRequest;
  /** Path of a collection, such as /apis/resource.k8s.io/v1/resourceslices. */
  path: string;
  /** Query parameters, such as a fieldSelector. */
  query?: Readonly<Record<string, string>>;
  /** Reduces each object to what is needed of it. Objects for which it returns undefined are left out. */
  transform: (object: Raw) => T | undefined;
  log: Logger;
  /** Called with each failure, and with undefined when the API server has answered a list or a watch after that. */
  onOutcome?: (failure: unknown) => void;
  /** Delays before each watch request after the first. */
  backoff?: Backoff;
  /** Duration of one watch request, in ms. A connection that broke without notice is detected a sixth later. */
  duration?: number;
}

/** Objects per page of a list, as client-go's pager asks for. */
const PAGE_SIZE = 500;

/**
 * Lists a collection, then watches it. The first change replaces everything. A watch that ends or breaks is resumed at
 * the last version; only if the API server has forgotten that version (410 Gone), the collection is listed again.
 * Failures are logged and retried with backoff. Ends with the signal.
 */
export async function* watchObjects<Raw extends ApiObject, T>(
  options: WatchOptions<Raw, T>,
  signal: AbortSignal,
): AsyncGenerator<ObjectChange<T>> {
  const { path, transform, log, onOutcome = () => {}, backoff = createBackoff() } = options;
  let resourceVersion: string | undefined;
  while (!signal.aborted) {
    try {
      if (resourceVersion === undefined) {
        const list = await listObjects(options, signal);
        resourceVersion = list.resourceVersion;
        onOutcome(undefined);
        yield { type: "replace", objects: list.objects };
      }
      for await (const { type, object } of watchOnce(options, resourceVersion, signal)) {
        backoff.reset();
        resourceVersion = object.metadata.resourceVersion ?? resourceVersion;
        if (type === "BOOKMARK") continue;
        const kept = type === "DELETED" ? undefined : transform(object);
        const key = keyOf(object);
        yield kept === undefined ? { type: "delete", key, resourceVersion } : { type: "put", key, object: kept };
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isStatus(error, 410)) resourceVersion = undefined;
      else onOutcome(error);
      log.warn("Watch interrupted", { path, reason: messageOf(error) });
    }
    await backoff.wait(signal).catch(() => {}); // rejects only when aborted
  }
}

/** Lists a collection page by page. The objects are by their keys. */
export async function listObjects<Raw extends ApiObject, T>(
  { request, path, query, transform }: Pick<WatchOptions<Raw, T>, "request" | "path" | "query" | "transform">,
  signal: AbortSignal,
): Promise<{ objects: Map<string, T>; resourceVersion: string }> {
  const objects = new Map<string, T>();
  let page: Record<string, string> = { limit: String(PAGE_SIZE) };
  for (;;) {
    const response = await request(path, { query: { ...query, ...page }, signal });
    const { items, metadata } = (await response.json()) as List<Raw>;
    for (const object of items) {
      const kept = transform(object);
      if (kept !== undefined) objects.set(keyOf(object), kept);
    }
    if (!metadata.continue) return { objects, resourceVersion: metadata.resourceVersion };
    page = { limit: String(PAGE_SIZE), continue: metadata.continue };
  }
}

/**
 * Lists a collection by the first of its paths that the API server has: those of the versions of a resource, the best one first.
 *
 * @throws {KubernetesError} with status 404 if it has none of them.
 */
export async function listFirstVersion<Raw extends ApiObject, T>(
  { paths, ...options }: Pick<WatchOptions<Raw, T>, "request" | "query" | "transform"> & { paths: readonly string[] },
  signal: AbortSignal,
): Promise<{ path: string; objects: Map<string, T> }> {
  for (const path of paths.slice(0, -1)) {
    try {
      return { path, ...(await listObjects({ ...options, path }, signal)) };
    } catch (error) {
      if (!isStatus(error, 404)) throw error;
    }
  }
  const path = paths.at(-1) ?? "";
  return { path, ...(await listObjects({ ...options, path }, signal)) };
}

interface List<T> {
  readonly items: readonly T[];
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

interface WatchEvent<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: T;
}

/** One watch request. Returns when the API server ends it. Throws on an ERROR event. */
async function* watchOnce<Raw extends ApiObject>(
  { request, path, query, onOutcome = () => {}, duration = 60_000 }: WatchOptions<Raw, unknown>,
  resourceVersion: string,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<Raw>> {
  const timeoutSeconds = String(Math.ceil(duration / 1000));
  const watch = { watch: "true", allowWatchBookmarks: "true", timeoutSeconds, resourceVersion };
  const timeout = (duration * 7) / 6; // a connection that still works ends before
  const { body } = await request(path, { query: { ...query, ...watch }, timeout, signal });
  onOutcome(undefined);
  if (!body) return;
  for await (const line of linesOf(body)) {
    const event = JSON.parse(line) as WatchEvent<Raw>;
    if (event.type === "ERROR") {
      const { code = 500, message = line } = event.object as { code?: number; message?: string };
      throw new KubernetesError(code, message);
    }
    yield event;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter(Boolean);
  }
}

/** The key of an object: `namespace/name`, or `name` if it is cluster-scoped. */
export function keyOf({ metadata: { namespace, name } }: ApiObject): string {
  return namespace ? `${namespace}/${name}` : name;
}
