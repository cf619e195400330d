import { isStatus } from "../../kubernetes/error.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ApiObject, listFirstVersion } from "../../kubernetes/watch.ts";
import type { PoolObjects, PoolState, Unread } from "./pool_objects.ts";
import { inNamespace, RESOURCES, type Resource, withoutManagedFields } from "./resources.ts";
import { describeFailure, isForbidden } from "./unread.ts";

export interface ReadOptions {
  request: KubernetesRequest;
  /** Whose claims, pods and events are read. Undefined: those of all namespaces. */
  namespace?: string | undefined;
  /** The namespace that is read instead of all, where only that is allowed. */
  insteadOfAll?: string | undefined;
  /** Whether nodes are read, too. Users seldom may. */
  nodes?: boolean;
}

/** Reads what the API server knows of the pool. What cannot be read is left out, and the result says why. */
export async function readPool(options: ReadOptions, signal: AbortSignal): Promise<PoolState> {
  const results = await Promise.all(resourcesOf(options).map((resource) => readResource(resource, options, signal)));
  signal.throwIfAborted();
  return stateOf(results);
}

/** The resources that are read with these options. */
export function resourcesOf({ nodes = false }: Pick<ReadOptions, "nodes">): readonly Resource[] {
  return RESOURCES.filter(({ kind }) => nodes || kind !== "nodes");
}

/** The objects of a resource, or why there are none. */
export interface ReadResult {
  readonly resource: Resource;
  /** Absent if none could be read. */
  readonly objects?: readonly ApiObject[];
  readonly unread?: Unread | undefined;
}

/** The state that results of all resources amount to. */
export function stateOf(results: readonly ReadResult[]): PoolState {
  const read = results.flatMap(({ resource, objects }) => (objects ? [[resource.kind, objects]] : []));
  const unread = results.flatMap((result) => result.unread ?? []);
  const lacksClaims = unread.some(({ kind }) => kind === "claims");
  const objects: PoolObjects = { claims: [], lacksClaims, ...Object.fromEntries(read) };
  return { objects, unread };
}

async function readResource(resource: Resource, options: ReadOptions, signal: AbortSignal): Promise<ReadResult> {
  const place = await findPlace(resource, options, signal);
  if (!place) return { resource, objects: [] };
  const { unread } = place;
  if (place.path === undefined) return { resource, unread };
  return { resource, objects: [...place.objects.values()], unread };
}

/** Where the objects of a resource can be read, and those that are there. Without a path, none can. */
export type Place =
  | { readonly path: string; readonly objects: ReadonlyMap<string, ApiObject>; readonly unread?: Unread | undefined }
  | { readonly path?: undefined; readonly unread: Unread };

/**
 * Tries the versions of a resource, and in place of all namespaces the one that is left. Undefined if the API server does not have the
 * resource, and need not.
 */
export async function findPlace(
  resource: Resource,
  { request, namespace, insteadOfAll }: ReadOptions,
  signal: AbortSignal,
): Promise<Place | undefined> {
  const { kind, name, isNamespaced } = resource;
  const scope = isNamespaced ? namespace : undefined;
  const what = `list ${name}${isNamespaced ? (scope === undefined ? " in all namespaces" : ` in the namespace ${scope}`) : ""}`;
  try {
    return await listVersions(resource, request, scope, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    const message = describeFailure(what, error);
    const unread: Unread = { kind, resource: name, isForbidden: isForbidden(error), message };
    if (!isNamespaced || scope !== undefined || insteadOfAll === undefined || !isForbidden(error)) return { unread };
    try {
      const place = await listVersions(resource, request, insteadOfAll, signal);
      return place && { ...place, unread: { ...unread, insteadOfAll } };
    } catch (second) {
      if (signal.aborted) throw second;
      return { unread };
    }
  }
}

/** @throws {KubernetesError} if no version can be listed. */
async function listVersions(
  { paths, query = {}, isOptional, isOfPool }: Resource,
  request: KubernetesRequest,
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<Extract<Place, { path: string }> | undefined> {
  const options = { request, query, transform: keepIf(isOfPool) };
  try {
    return await listFirstVersion({ ...options, paths: paths.map((path) => inNamespace(path, namespace)) }, signal);
  } catch (error) {
    if (isOptional && isStatus(error, 404)) return undefined;
    throw error;
  }
}

/** Keeps the objects of the pool. */
export function keepIf(isOfPool: Resource["isOfPool"]): (object: ApiObject) => ApiObject | undefined {
  return (object) => (isOfPool(object as never) ? withoutManagedFields(object) : undefined);
}
