import { setTimeout as sleep } from "node:timers/promises";
import pLimit from "p-limit";
import { hasEnded, PODS, type Pod, requestedByPod } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { listObjects } from "../../kubernetes/watch.ts";
import { RESOURCE_NAME } from "../../pool/driver.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { CapacitySource } from "./node_marks.ts";

/** Time between two looks at the pods of a node, in ms. Meanwhile the driver has the kubelet forget units of pods that have ended. */
const PERIOD = 20_000;

/** How often in a row a node must have no pods with units. */
const LOOKS = 2;

/** Requests that are sent at the same time. */
const CONCURRENCY = 10;

export interface ReleasedNodesOptions {
  request: KubernetesRequest;
  log: Logger;
  /** Names of nodes whose kubelet reports 0 units. */
  zeroed: () => readonly string[];
  /** Called when nodes have been released. */
  onRelease: () => void;
  /** In ms. */
  period?: number;
}

/**
 * The nodes whose kubelet holds no units of a device plugin. A kubelet reports 0 units when it has forgotten a device plugin that has ended. While a
 * pod of the plugin's time still runs, the kubelet fails each new pod with units ("cannot allocate unregistered device", devicemanager/manager.go).
 */
export interface ReleasedNodes {
  has(node: string): boolean;
  /** Tells who wrote a node's capacity. With a capacity of the controller, pods hold no units of a device plugin. */
  note(node: string, capacity: CapacitySource): void;
  /** Looks at the pods of zeroed nodes. Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export function createReleasedNodes(options: ReleasedNodesOptions): ReleasedNodes {
  const { request, log, zeroed, onRelease, period = PERIOD } = options;
  const released = new Set<string>();
  /** How often in a row each node had no pods with units. */
  const looks = new Map<string, number>();
  const limit = pLimit(CONCURRENCY);

  async function look(node: string, signal: AbortSignal): Promise<void> {
    const inUse = await hasPodsWithUnits(request, node, signal);
    const count = inUse ? 0 : (looks.get(node) ?? 0) + 1;
    looks.set(node, count);
    if (count < LOOKS) return;
    looks.delete(node);
    released.add(node);
    log.info("No pod of the node holds units of a device plugin any more", { node });
    onRelease();
  }

  return {
    has: (node) => released.has(node),
    note(node, capacity) {
      if (capacity === "own") released.add(node);
      if (capacity === "plugin") released.delete(node);
    },
    async run(signal) {
      while (!signal.aborted) {
        const nodes = zeroed().filter((node) => !released.has(node));
        for (const node of looks.keys()) if (!nodes.includes(node)) looks.delete(node);
        const results = await Promise.allSettled(nodes.map((node) => limit(look, node, signal)));
        const failed = results.find((result) => result.status === "rejected");
        if (failed && !signal.aborted) log.warn("Cannot list the pods of a node", { reason: messageOf(failed.reason) });
        await sleep(period, undefined, { signal }).catch(() => {}); // rejects only when aborted
      }
    },
  };
}

async function hasPodsWithUnits(request: KubernetesRequest, node: string, signal: AbortSignal): Promise<boolean> {
  const query = { fieldSelector: `spec.nodeName=${node}` };
  const transform = (pod: Pod) => (!hasEnded(pod) && requestedByPod(pod, RESOURCE_NAME) > 0) || undefined;
  const { objects } = await listObjects<Pod, true>({ request, path: PODS, query, transform }, signal);
  return objects.size > 0;
}
