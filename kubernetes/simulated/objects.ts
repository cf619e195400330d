import type { KubernetesObject } from "@kubernetes/client-node";
import { createLatest, type Latest } from "../../program/latest.ts";

/** Objects of any kind by path, such as /apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates/x. */
export interface ObjectStore {
  readonly objects: Map<string, KubernetesObject>;
  /** The version of the last change. Control loops wait for it. */
  readonly version: Latest<number>;
  /** The object with this path. Undefined if it does not exist. */
  get<T>(path: string): T | undefined;
  /** The objects of a collection, such as /api/v1/pods, in the order of their creation. */
  list<T>(collection: string): T[];
  /** Creates or replaces an object, as another client does. */
  put(path: string, object: object): void;
  /** Removes an object, as another client does. */
  remove(path: string): void;
  /**
   * Ends all watches, as their timeout does: with a last bookmark for those that allow bookmarks. With `forget`, earlier
   * resource versions expire (410 Gone). With `broken`, the connections are reset instead, without a bookmark.
   */
  endWatches(options?: { forget?: boolean; broken?: boolean }): void;
  /**
   * Returns the response of an API server. Undefined for a path that does not name objects, and for an unsupported
   * method.
   */
  answer(request: Request): Promise<Response | undefined>;
}

const PATH =
  /^(?<group>\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/(?<namespace>[^/]+))?\/(?<resource>[a-z]+)(?:\/(?<name>[^/]+)(?<subresource>\/status)?)?$/;

/** A requirement of a selector. */
const REQUIREMENT = /^([^=!]+)(=|==|!=)([^=!]*)$/;

/** A change, as watches report it. */
interface WatchEvent {
  readonly version: number;
  readonly path: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubernetesObject;
  /** The object before a modification. */
  readonly previous?: KubernetesObject | undefined;
}

type Listener = (event: WatchEvent) => void;

export interface ObjectStoreOptions {
  /** Changes each object before it is stored, as defaulting does. */
  defaults?: (object: KubernetesObject) => KubernetesObject;
}

/**
 * Creates a store that supports GET, LIST with pages, WATCH with timeouts and bookmarks, POST, PUT, PATCH (merge,
 * strategic merge and apply) and DELETE, with label and field selectors, resource versions, preconditions and dry runs.
 */
export function createObjectStore({ defaults = (object) => object }: ObjectStoreOptions = {}): ObjectStore {
  const objects = new Map<string, KubernetesObject>();
  const history: WatchEvent[] = [];
  const watches = new Map<Listener, (broken: boolean) => void>();
  const latest = createLatest(0);
  let version = 0;
  let oldestVersion = 0;

  function list(url: URL): Response {
    const { limit, continue: token } = Object.fromEntries(url.searchParams);
    const [listed = version, start = 0] = token?.split(":").map(Number) ?? [];
    if (listed < oldestVersion) return failure(410, "Expired");
    const selected = [...objects].filter(([path, object]) => isSelected(url, path, object)).map(([, object]) => object);
    const end = limit ? start + Number(limit) : selected.length;
    const rest = end < selected.length ? { continue: `${listed}:${end}` } : {};
    return Response.json({ metadata: { resourceVersion: String(listed), ...rest }, items: selected.slice(start, end) });
  }

  function watch(url: URL, signal: AbortSignal): Response {
    const { resourceVersion, timeoutSeconds, allowWatchBookmarks } = Object.fromEntries(url.searchParams);
    const since = Number(resourceVersion);
    const stream = new ReadableStream<string>({
      start(controller) {
        const send = (event: object) => controller.enqueue(`${JSON.stringify(event)}\n`);
        if (since < oldestVersion) {
          send({ type: "ERROR", object: { kind: "Status", code: 410, message: "too old resource version" } });
          return controller.close();
        }
        controller.enqueue("\n"); // Bun sends the headers with the first bytes of a body, and an API server at once
        const listener: Listener = (event) => {
          const type = typeInSelection(url, event);
          if (type) send({ type, object: event.object });
        };
        const end = (broken: boolean) => {
          clearTimeout(timer);
          if (!watches.delete(listener)) return;
          if (broken) return controller.error(new Error("Connection reset"));
          const metadata = { resourceVersion: String(version) };
          if (allowWatchBookmarks === "true" && !signal.aborted) send({ type: "BOOKMARK", object: { metadata } });
          controller.close();
        };
        const seconds = Number(timeoutSeconds ?? 0);
        const timer = seconds > 0 ? setTimeout(() => end(false), seconds * 1000) : undefined;
        for (const event of history) if (event.version > since) listener(event);
        watches.set(listener, end);
        signal.addEventListener("abort", () => end(false), { once: true });
      },
    });
    return new Response(stream.pipeThrough(new TextEncoderStream()));
  }

  function record(path: string, type: WatchEvent["type"], object: KubernetesObject): void {
    const event = { version, path, type, object, previous: objects.get(path) };
    history.push(event);
    for (const listener of watches.keys()) listener(event);
  }

  function store(path: string, object: KubernetesObject, dryRun = false): KubernetesObject {
    const { namespace, name = "" } = PATH.exec(path)?.groups ?? {};
    const { metadata } = objects.get(path) ?? {};
    const stored: KubernetesObject = {
      ...defaults(object),
      metadata: {
        uid: metadata?.uid ?? crypto.randomUUID(),
        ...object.metadata,
        name,
        ...(namespace ? { namespace } : {}),
        resourceVersion: String(++version),
      },
    };
    if (dryRun) return stored;
    record(path, metadata ? "MODIFIED" : "ADDED", stored);
    objects.set(path, stored);
    latest.set(version);
    return stored;
  }

  function remove(path: string): void {
    const object = objects.get(path);
    if (!objects.delete(path)) return;
    record(path, "DELETED", { ...object, metadata: { ...object?.metadata, resourceVersion: String(++version) } });
    latest.set(version);
  }

  async function create(request: Request, url: URL): Promise<Response> {
    const object = (await request.json()) as KubernetesObject;
    const { name = `${object.metadata?.generateName}${++version}` } = object.metadata ?? {};
    const path = `${url.pathname}/${name}`;
    if (objects.has(path)) return failure(409, "AlreadyExists");
    return Response.json(store(path, object, isDryRun(url)), { status: 201 });
  }

  async function change(request: Request, url: URL, { path, current }: StoredObject): Promise<Response> {
    const body = (await request.json().catch(() => ({}))) as KubernetesObject & DeleteOptions;
    const expected: { uid?: string; resourceVersion?: string } =
      request.method === "DELETE" ? (body.preconditions ?? {}) : (body.metadata ?? {});
    const { uid, resourceVersion } = current.metadata ?? {};
    if ((expected.uid ?? uid) !== uid || (expected.resourceVersion ?? resourceVersion) !== resourceVersion) {
      return failure(409, "Conflict");
    }
    if (request.method === "PUT") return Response.json(store(path, body, isDryRun(url)));
    if (request.method === "PATCH") {
      const merge = PATCHES[request.headers.get("Content-Type") ?? ""];
      if (!merge) return failure(415, "UnsupportedMediaType");
      return Response.json(store(path, merge(current, body) as KubernetesObject, isDryRun(url)));
    }
    if (!isDryRun(url) && !body.dryRun?.includes("All")) remove(path);
    return Response.json(current);
  }

  return {
    objects,
    version: latest,
    get: <T>(path: string) => objects.get(path) as T | undefined,
    list: <T>(collection: string) =>
      [...objects].flatMap(([path, object]) => (isIn(collection, path) ? [object as unknown as T] : [])),
    put: (path, object) => void store(path, object as KubernetesObject),
    remove,
    endWatches({ forget = false, broken = false } = {}) {
      if (forget) oldestVersion = ++version;
      for (const end of [...watches.values()]) end(broken);
    },
    async answer(request) {
      const url = new URL(request.url);
      const groups = PATH.exec(url.pathname)?.groups;
      if (!groups) return undefined;
      const path = url.pathname.slice(0, url.pathname.length - (groups.subresource?.length ?? 0));
      if (groups.name === undefined) {
        if (url.searchParams.get("watch")) return watch(url, request.signal);
        if (request.method === "GET") return list(url);
        return request.method === "POST" ? create(request, url) : undefined;
      }
      const current = objects.get(path);
      if (!current) return failure(404, "NotFound", { name: groups.name, kind: groups.resource });
      if (request.method === "GET") return Response.json(current);
      return ["PUT", "PATCH", "DELETE"].includes(request.method) ? change(request, url, { path, current }) : undefined;
    },
  };
}

/** How a patch changes a value, by its content type. */
const PATCHES: Readonly<Record<string, (target: unknown, patch: unknown) => unknown>> = {
  "application/merge-patch+json": (target, patch) => mergePatch(target, patch, (_, list) => list),
  // As for an object whose lists have one owner.
  "application/apply-patch+yaml": (target, patch) => mergePatch(target, patch, (_, list) => list),
  "application/strategic-merge-patch+json": (target, patch) => mergePatch(target, patch, mergeByName),
};

type MergeLists = (target: readonly Named[], patch: readonly Named[]) => unknown;
type Named = Readonly<Record<string, unknown>> & { readonly name?: string };

/** Applies a JSON Merge Patch (RFC 7386), or a strategic one, which also merges lists. */
function mergePatch(target: unknown, patch: unknown, mergeLists: MergeLists): unknown {
  if (Array.isArray(patch)) return mergeLists(Array.isArray(target) ? target : [], patch);
  if (typeof patch !== "object" || patch === null) return patch;
  const result: Record<string, unknown> = typeof target === "object" ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value, mergeLists);
  }
  return result;
}

/** Merges lists of objects whose key is their name, such as the webhooks of a MutatingWebhookConfiguration. */
function mergeByName(target: readonly Named[], patch: readonly Named[]): readonly unknown[] {
  const merged = target.map((object) => {
    const change = patch.find(({ name }) => name === object.name);
    return change ? mergePatch(object, change, mergeByName) : object;
  });
  return [...merged, ...patch.filter(({ name }) => !target.some((object) => object.name === name))];
}

/** The type of an event for a watch. Undefined if it concerns none of the selected objects. */
function typeInSelection(url: URL, { path, type, object, previous }: WatchEvent): WatchEvent["type"] | undefined {
  const isNow = isSelected(url, path, object);
  if (type !== "MODIFIED" || !previous) return isNow ? type : undefined;
  const wasBefore = isSelected(url, path, previous);
  if (isNow) return wasBefore ? "MODIFIED" : "ADDED";
  return wasBefore ? "DELETED" : undefined; // an object that leaves the selection is reported as deleted
}

interface StoredObject {
  readonly path: string;
  readonly current: KubernetesObject;
}

/** The body of a DELETE (meta/v1). */
interface DeleteOptions {
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly dryRun?: readonly string[];
}

function isDryRun({ searchParams }: URL): boolean {
  return searchParams.get("dryRun") === "All";
}

/** Whether the collection and selectors of a request's URL include an object. */
function isSelected({ pathname, searchParams }: URL, path: string, object: KubernetesObject): boolean {
  return (
    isIn(pathname, path) &&
    matches(searchParams.get("labelSelector"), (label) => object.metadata?.labels?.[label]) &&
    matches(searchParams.get("fieldSelector"), (field) => String(fieldOf(object, field) ?? ""))
  );
}

/** Whether all requirements of a selector are met, such as a=b,c!=d. Set-based requirements are not supported. */
function matches(selector: string | null, read: (key: string) => string | undefined): boolean {
  if (!selector) return true;
  return selector.split(",").every((requirement) => {
    const [, key, operator, value] = REQUIREMENT.exec(requirement) ?? [];
    if (key === undefined)
      throw new Error(`Cannot use the selector "${selector}": expected equality-based requirements`);
    return (read(key) === value) === (operator !== "!=");
  });
}

/** Whether a collection, of one namespace or of all, has the object with this path. */
function isIn(collection: string, path: string): boolean {
  const expected = PATH.exec(collection)?.groups ?? {};
  const { group, namespace, resource } = PATH.exec(path)?.groups ?? {};
  const isInNamespace = expected.namespace === undefined || expected.namespace === namespace;
  return group === expected.group && resource === expected.resource && isInNamespace;
}

/** Returns the value at a path such as spec.driver. */
function fieldOf(object: unknown, path: string): unknown {
  return path.split(".").reduce((value, key) => (value as Record<string, unknown> | undefined)?.[key], object);
}

/** The Status of an API server (meta/v1). */
export function failure(code: 404 | 409 | 410 | 415, reason: string, details: object = {}): Response {
  const status = { apiVersion: "v1", kind: "Status", status: "Failure", code, reason, message: reason, details };
  return Response.json(status, { status: code });
}
