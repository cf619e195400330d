import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import type { KubernetesRequest } from "./request.ts";

/** As much of each object as following it takes. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
  };
}

export interface FollowObjectsOptions {
  request: KubernetesRequest;
  /** Of a collection, such as /apis/resource.k8s.io/v1/resourceslices. */
  path: string;
  /** Such as a fieldSelector. */
  query?: Readonly<Record<string, string>>;
  log: Logger;
}

/** By namespace/name, or the name alone where there is no namespace. */
export type Objects<T> = ReadonlyMap<string, T>;

/** How long one watch lasts, in seconds: a connection that died in silence is noticed by then. */
const WATCH = 60;

/** How much longer its end may take to arrive, in ms. */
const GRACE = 10_000;

/** The objects of a collection: all of them at first, and again at each change. Ends only with the signal; failures are logged. */
export async function* followObjects<T extends ApiObject>(
  { request, path, query = {}, log }: FollowObjectsOptions,
  signal: AbortSignal,
): AsyncGenerator<Objects<T>> {
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      const listed = await request(path, { query, signal });
      const list = (await listed.json()) as { items: T[]; metadata: { resourceVersion: string } };
      let objects = new Map(list.items.map((object) => [keyOf(object), object]));
      let { resourceVersion } = list.metadata;
      yield objects;
      for (;;) {
        for await (const { type, object } of watchOnce<T>(request, path, { ...query, resourceVersion }, signal)) {
          backoff.reset();
          resourceVersion = object.metadata.resourceVersion ?? resourceVersion;
          if (type === "BOOKMARK") continue;
          objects = new Map(objects); // what was told before stays as it was
          if (type === "DELETED") objects.delete(keyOf(object));
          else objects.set(keyOf(object), object);
          yield objects;
        }
        await backoff.wait(signal); // a watch that the server ends at once is not asked for again at once
      }
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot follow objects of the API server", { path, reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // only the signal ends it early
    }
  }
}

interface WatchEvent<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: T;
}

/** Ends when the API server ends it. Throws on an ERROR, such as 410 for a version that it no longer knows. */
async function* watchOnce<T>(
  request: KubernetesRequest,
  path: string,
  query: Record<string, string>,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>> {
  const watch = { watch: "true", allowWatchBookmarks: "true", timeoutSeconds: String(WATCH) };
  const { body } = await request(path, { query: { ...query, ...watch }, timeout: WATCH * 1000 + GRACE, signal });
  if (!body) return;
  for await (const line of linesOf(body)) {
    const event = JSON.parse(line) as WatchEvent<T>;
    if (event.type === "ERROR") throw new Error((event.object as { message?: string }).message ?? line);
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

function keyOf({ metadata: { namespace, name } }: ApiObject): string {
  return namespace ? `${namespace}/${name}` : name;
}
