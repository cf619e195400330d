import pLimit from "p-limit";
import { ignoreStatus } from "../../kubernetes/error.ts";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ObjectChange, watchObjects } from "../../kubernetes/watch.ts";
import { READY_NODE_LABEL } from "../../pool/driver.ts";
import { createBackoff } from "../../program/backoff.ts";
import { createLatest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";

export interface NodeLabelsOptions {
  request: KubernetesRequest;
  /** The namespace of the driver's pods. */
  namespace: string;
  log: Logger;
}

/** The label of the driver's pods (plugin/deploy/daemonset.yaml). */
const DRIVER_PODS = "app.kubernetes.io/name=bitfusion-device-plugin";

/** Requests that are sent at the same time. */
const CONCURRENCY = 10;

/**
 * Labels the nodes on which a pod of the driver is Ready, which means that the driver is registered with the kubelet. The slices select
 * nodes by this label. Other nodes lose the label. Failures are retried with backoff. Returns when the signal is aborted.
 */
export async function labelReadyNodes(
  { request, namespace, log }: NodeLabelsOptions,
  signal: AbortSignal,
): Promise<void> {
  /** The nodes of the driver's Ready pods, by the pods' keys. */
  const readyPods = createFollowed<string>();
  /** Whether nodes have the label, by their names. */
  const labels = createFollowed<boolean>();
  const version = createLatest(0);
  const onChange = () => version.set((version.current ?? 0) + 1);

  async function followPods(): Promise<void> {
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const watch = { request, path, query: { labelSelector: DRIVER_PODS }, transform: readyNode, log };
    for await (const change of watchObjects<Pod, string>(watch, signal)) {
      readyPods.apply(change);
      onChange();
    }
  }

  async function followNodes(): Promise<void> {
    const watch = { request, path: NODES, transform: hasLabel, log };
    for await (const change of watchObjects<Node, boolean>(watch, signal)) if (labels.apply(change)) onChange();
  }

  async function patchNodes(): Promise<void> {
    const limit = pLimit(CONCURRENCY);
    const backoff = createBackoff();
    for await (const _ of version.changes(signal)) {
      if (!readyPods.isSynced || !labels.isSynced) continue;
      const ready = new Set(readyPods.objects.values());
      const changes = [...labels.objects].filter(([node, isLabeled]) => isLabeled !== ready.has(node));
      const results = await Promise.allSettled(
        changes.map(async ([node]) => {
          const isReady = ready.has(node);
          await limit(setLabel, { request, log, node, isReady }, signal);
          labels.apply({ type: "put", key: node, object: isReady }); // the watch may report it only after the next round
        }),
      );
      const failed = results.find((result) => result.status === "rejected");
      if (!failed) backoff.reset();
      else if (!signal.aborted) {
        log.warn("Cannot label a node", { reason: messageOf(failed.reason) });
        await backoff.wait(signal).catch(() => {}); // rejects only when aborted
        onChange();
      }
    }
  }

  await Promise.all([followPods(), followNodes(), patchNodes()]);
}

interface LabelChange {
  request: KubernetesRequest;
  log: Logger;
  node: string;
  isReady: boolean;
}

async function setLabel({ request, log, node, isReady }: LabelChange, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const body = { metadata: { labels: { [READY_NODE_LABEL]: isReady ? "true" : null } } };
  const contentType = "application/merge-patch+json";
  await ignoreStatus(404, request(`${NODES}/${node}`, { method: "PATCH", contentType, body, signal }));
  log.info(isReady ? "Node can run pods with a share" : "Node cannot run pods with a share", { node });
}

/** The node of a Ready pod of the driver. */
function readyNode({ metadata, spec, status }: Pod): string | undefined {
  const isReady = status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True");
  return isReady && !metadata.deletionTimestamp ? spec.nodeName : undefined;
}

function hasLabel({ metadata }: Node): boolean {
  return metadata.labels?.[READY_NODE_LABEL] !== undefined;
}

/** Objects that a watch reports, by their keys. */
interface Followed<T> {
  readonly objects: ReadonlyMap<string, T>;
  /** Whether all objects are known. */
  readonly isSynced: boolean;
  /** Applies a change. Returns whether it changed anything. */
  apply(change: ObjectChange<T>): boolean;
}

function createFollowed<T>(): Followed<T> {
  let objects = new Map<string, T>();
  let isSynced = false;
  return {
    get objects() {
      return objects;
    },
    get isSynced() {
      return isSynced;
    },
    apply(change) {
      if (change.type === "replace") {
        objects = new Map(change.objects);
        isSynced = true;
        return true;
      }
      if (change.type === "delete") return objects.delete(change.key);
      const hasChanged = objects.get(change.key) !== change.object;
      objects.set(change.key, change.object);
      return hasChanged;
    },
  };
}
