import type { KubernetesObject } from "@kubernetes/client-node";

/** Objects of any kind by their path, such as /apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates/x. */
export interface ObjectStore {
  readonly objects: Map<string, KubernetesObject>;
  /** What an API server answers; undefined for a path that is not one of objects. */
  answer(request: Request): Promise<Response | undefined>;
}

const PATH =
  /^(?<group>\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/(?<namespace>[^/]+))?\/(?<resource>[a-z]+)(?:\/(?<name>[^/]+))?$/;

/** GET, LIST with a label selector, POST, PUT and DELETE, with resourceVersions, preconditions and dry runs. */
export function createObjectStore(): ObjectStore {
  const objects = new Map<string, KubernetesObject>();
  let version = 0;

  function list(url: URL): Response {
    const { group, namespace, resource } = PATH.exec(url.pathname)?.groups ?? {};
    const selector = url.searchParams.get("labelSelector")?.split("=");
    const items = [...objects].filter(([path, { metadata }]) => {
      const own = PATH.exec(path)?.groups ?? {};
      const isThere = own.group === group && own.resource === resource && (!namespace || own.namespace === namespace);
      return isThere && (!selector || metadata?.labels?.[selector[0] ?? ""] === selector[1]);
    });
    return Response.json({ metadata: { resourceVersion: String(version) }, items: items.map(([, object]) => object) });
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
    if (!isDryRun) objects.set(path, stored);
    return stored;
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
    objects.delete(path);
    return Response.json(current);
  }

  return {
    objects,
    async answer(request) {
      const url = new URL(request.url);
      const path = url.pathname;
      const groups = PATH.exec(path)?.groups;
      if (!groups) return undefined;
      if (groups.name === undefined) {
        if (request.method === "GET") return list(url);
        return request.method === "POST" ? create(request, url) : undefined;
      }
      const current = objects.get(path);
      if (!current) return failure(404, "NotFound");
      if (request.method === "GET") return Response.json(current);
      return request.method === "PUT" || request.method === "DELETE" ? change(request, path, current) : undefined;
    },
  };
}

function failure(code: 404 | 409, reason: string): Response {
  const status = { apiVersion: "v1", kind: "Status", status: "Failure", code, reason, message: reason };
  return Response.json(status, { status: code });
}
