import { isStatus } from "../../../kubernetes/error.ts";
import type { NetworkPolicy } from "../../../kubernetes/network_policies.ts";
import { NODES, type Node } from "../../../kubernetes/objects/node.ts";
import { PODS, type Pod, podPath } from "../../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import { type ApiObject, listObjects } from "../../../kubernetes/watch.ts";
import type { PoolState } from "../../source/pool_objects.ts";
import { inNamespace } from "../../source/resources.ts";
import { describeFailure } from "../../source/unread.ts";
import type { PoolView } from "../../view/types.ts";
import { UserError } from "../user_error.ts";
import type { PodFacts } from "./facts.ts";
import { readUnitQuotas } from "./quota.ts";
import { podsOfTarget, type Target } from "./target.ts";

export interface ReadFactsOptions {
  request: KubernetesRequest;
  namespace: string;
  signal: AbortSignal;
}

/** The pods of a target. @throws {UserError} if they cannot be read. */
export async function readPods(
  target: Target,
  { request, namespace, signal }: ReadFactsOptions,
): Promise<readonly Pod[]> {
  const { kind, name } = target;
  try {
    if (kind === undefined || kind === "Pod") {
      const path = podPath({ metadata: { namespace, name } });
      const pod = await ignoreMissing(request(path, { signal }).then((response) => response.json() as Promise<Pod>));
      if (pod || kind === "Pod") return pod ? [pod] : [];
    }
    return podsOfTarget(target, await list<Pod>(request, inNamespace(PODS, namespace), signal));
  } catch (error) {
    if (signal.aborted) throw error;
    throw new UserError(describeFailure(`read pods in the namespace ${namespace}`, error));
  }
}

async function ignoreMissing<T>(call: Promise<T>): Promise<T | undefined> {
  return call.catch((error) => {
    if (!isStatus(error, 404)) throw error;
    return undefined;
  });
}

/** What must be known of a pod besides the pool. What cannot be read is left out, and its step says so. */
export async function readFacts(
  pod: Pod,
  { view, state }: { view: PoolView; state: PoolState },
  { request, namespace, signal }: ReadFactsOptions,
): Promise<PodFacts> {
  const orUndefined = <T>(call: Promise<T>) =>
    call.catch((error) => {
      if (signal.aborted) throw error;
      return undefined;
    });
  const object = async <T>(path: string) => (await request(path, { signal })).json() as Promise<T>;
  const { nodeName } = pod.spec;
  const [namespaceObject, quotas, policies, node] = await Promise.all([
    orUndefined(object<Pod>(`/api/v1/namespaces/${encodeURIComponent(namespace)}`)),
    readUnitQuotas(namespace, { request, signal }),
    orUndefined(
      list<NetworkPolicy & ApiObject>(
        request,
        inNamespace("/apis/networking.k8s.io/v1/networkpolicies", namespace),
        signal,
      ),
    ),
    nodeName === undefined ? undefined : orUndefined(object<Node>(`${NODES}/${encodeURIComponent(nodeName)}`)),
  ]);
  const { name, uid } = pod.metadata;
  const events = (state.objects.events ?? []).filter(
    ({ involvedObject, metadata }) =>
      involvedObject.kind === "Pod" &&
      involvedObject.name === name &&
      metadata.namespace === namespace &&
      (involvedObject.uid === undefined || uid === undefined || involvedObject.uid === uid),
  );
  const namespaceLabels = namespaceObject && (namespaceObject.metadata.labels ?? {});
  return { pod, view, events, namespaceLabels, quotas, policies, node };
}

async function list<T extends ApiObject>(request: KubernetesRequest, path: string, signal: AbortSignal): Promise<T[]> {
  const { objects } = await listObjects<T, T>({ request, path, transform: (object) => object }, signal);
  return [...objects.values()];
}
