import type { KubernetesObject } from "@kubernetes/client-node";

/** Objects of any kind by their path, such as /apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates/x. */
export interface ObjectStore {
  readonly objects: Map<string, KubernetesObject>;
  /** Creates or changes an object, as somebody else does. */
  put(path: string, object: KubernetesObject): void;
  /** Removes an object, as somebody else does. */
  remove(path: string): void;
  /** Ends all watches, as a restart does. With `forget`, the versions before now are no longer known either: 410. */
  endWatches(options?: { forget?: boolean }): void;
  /** What an API server answers; undefined for a path that is not one of objects. */
  answer(request: Request): Promise<Response | undefined>;
}

const PATH =
  /^(?<group>\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/(?<namespace>[^/]+))?\/(?<resource>[a-z]+)(?:\/(?<name>[^/]+))?$/;

/** What a watch tells, and whom it concerns. */
interface WatchEvent {
  readonly version: number;
  readonly path: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubernetesObject;
}

type Tell = (event: WatchEvent) => void;

/** GET, LIST with a label selector, WATCH, POST, PUT and DELETE, with resourceVersions, preconditions and dry runs. */
export function createObjectStore(): ObjectStore {
  const objects = new Map<string, KubernetesObject>();
  const history: WatchEvent[] = [];
  const watches = new Map<Tell, () => void>();
  let version = 0;
  let oldest = 0;

  function list(url: URL): Response {
    const items = [...objects].filter(([path, object]) => isWanted(url, path, object)).map(([, object]) => object);
    return Response.json({ metadata: { resourceVersion: String(version) }, items });
  }

  function watch(url: URL, signal: AbortSignal): Response {
    const since = Number(url.searchParams.get("resourceVersion"));
    const stream = new ReadableStream<string>({
      start(controller) {
        const send = (event: object) => controller.enqueue(`${JSON.stringify(event)}\n`);
        if (since < oldest) {
          send({ type: "ERROR", object: { kind: "Status", code: 410, message: "too old resource version" } });
          return controller.close();
        }
        const tell: Tell = ({ path, type, object }) => {
          if (isWanted(url, path, object)) send({ type, object });
        };
        const end = () => {
          if (watches.delete(tell)) controller.close();
        };
        for (const event of history) if (event.version > since) tell(event);
        watches.set(tell, end);
        signal.addEventListener("abort", end, { once: true });
      },
    });
    return new Response(stream.pipeThrough(new TextEncoderStream()));
  }

  function record(path: string, type: WatchEvent["type"], object: KubernetesObject): void {
    const event = { version, path, type, object };
    history.push(event);
    for (const tell of watches.keys()) tell(event);
  }

  function store(path: string, object: KubernetesObject, isDryRun: boolean): KubernetesObject {
    const { namespace, name = "" } = PATH.exec(path)?.groups ?? {};
    const { metadata } = objects.get(path) ?? {};
    const stored: KubernetesObject = {
      ...object,
      metadata: {
        uid: metadata?.uid ?? crypto.randomUUID(),
        ...object.metadata,
        name,
        ...(namespace ? { namespace } : {}),
        resourceVersion: String(++version),
      },
    };
    if (isDryRun) return stored;
    record(path, metadata ? "MODIFIED" : "ADDED", stored);
    objects.set(path, stored);
    return stored;
  }

  function remove(path: string): void {
    const object = objects.get(path);
    if (!objects.delete(path)) return;
    record(path, "DELETED", { ...object, metadata: { ...object?.metadata, resourceVersion: String(++version) } });
  }

  async function create(request: Request, { pathname, searchParams }: URL): Promise<Response> {
    const object = (await request.json()) as KubernetesObject;
    const { name = `${object.metadata?.generateName}${++version}` } = object.metadata ?? {};
    if (objects.has(`${pathname}/${name}`)) return failure(409, "AlreadyExists");
    const isDryRun = searchParams.get("dryRun") === "All";
    return Response.json(store(`${pathname}/${name}`, object, isDryRun), { status: 201 });
  }

  async function change(request: Request, path: string, current: KubernetesObject): Promise<Response> {
    const body = (await request.json().catch(() => ({}))) as KubernetesObject & { preconditions?: object };
    const expected: { uid?: string; resourceVersion?: string } =
      request.method === "DELETE" ? (body.preconditions ?? {}) : (body.metadata ?? {});
    const { uid, resourceVersion } = current.metadata ?? {};
    if ((expected.uid ?? uid) !== uid || (expected.resourceVersion ?? resourceVersion) !== resourceVersion) {
      return failure(409, "Conflict");
    }
    if (request.method === "PUT") return Response.json(store(path, body, false));
    remove(path);
    return Response.json(current);
  }

  return {
    objects,
    put: (path, object) => void store(path, object, false),
    remove,
    endWatches({ forget = false } = {}) {
      if (forget) oldest = ++version;
      for (const end of [...watches.values()]) end();
    },
    async answer(request) {
      const url = new URL(request.url);
      const path = url.pathname;
      const groups = PATH.exec(path)?.groups;
      if (!groups) return undefined;
      if (groups.name === undefined) {
        if (url.searchParams.get("watch")) return watch(url, request.signal);
        if (request.method === "GET") return list(url);
        return request.method === "POST" ? create(request, url) : undefined;
      }
      const current = objects.get(path);
      if (!current) return failure(404, "NotFound", { name: groups.name, kind: groups.resource });
      if (request.method === "GET") return Response.json(current);
      return request.method === "PUT" || request.method === "DELETE" ? change(request, path, current) : undefined;
    },
  };
}

function isWanted({ pathname, searchParams }: URL, path: string, { metadata }: KubernetesObject): boolean {
  const { group, namespace, resource } = PATH.exec(pathname)?.groups ?? {};
  const own = PATH.exec(path)?.groups ?? {};
  if (own.group !== group || own.resource !== resource || (namespace && own.namespace !== namespace)) return false;
  const [label = "", value] = searchParams.get("labelSelector")?.split("=") ?? [];
  return value === undefined || metadata?.labels?.[label] === value;
}

function failure(code: 404 | 409, reason: string, details: object = {}): Response {
  const status = { apiVersion: "v1", kind: "Status", status: "Failure", code, reason, message: reason, details };
  return Response.json(status, { status: code });
}
