import { setTimeout as sleep } from "node:timers/promises";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { Logger } from "../../program/log/log.ts";
import { followPool } from "../source/follow.ts";
import type { PoolState } from "../source/pool_objects.ts";
import type { PoolView } from "../view/types.ts";
import { viewPool } from "../view/view.ts";
import { wayOfPod } from "../view/way.ts";
import { createHistory, SAMPLE_INTERVAL } from "./state/history.ts";
import { toPageState, toSample } from "./state/page_state.ts";
import type { PageState, PodWayRow } from "./state/wire.ts";

export interface PagePoolOptions {
  request: KubernetesRequest;
  log: Logger;
  /** Called with each state of the page. */
  onState: (state: PageState) => void;
}

/** The pool as the page knows it. */
export interface PagePool {
  /** Whether the pool was read. */
  readonly isKnown: boolean;
  /** The way of a pod. Undefined if there is no such pod. */
  wayOf(namespace: string, pod: string): PodWayRow | undefined;
  /** Follows the pool. Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** Shortest pause after a view, in ms. It lasts as long as the view took, if that is more: the program uses half a core at most. */
const MIN_PAUSE = 100;

export function createPagePool({ request, log, onState }: PagePoolOptions): PagePool {
  const history = createHistory();
  let state: PoolState | undefined;
  let view: PoolView | undefined;
  let sampledAt = Number.NEGATIVE_INFINITY;

  function show(now: number): void {
    if (!state || !view) return;
    if (now - sampledAt >= SAMPLE_INTERVAL) {
      history.add(toSample(view), now);
      sampledAt = now;
    }
    onState(toPageState(view, state.unread, history.samples));
  }

  async function sample(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(SAMPLE_INTERVAL, undefined, { signal }).catch(() => {}); // rejects only when aborted
      if (!signal.aborted) show(Date.now());
    }
  }

  async function follow(signal: AbortSignal): Promise<void> {
    for await (const next of followPool({ request, log }, signal)) {
      const start = performance.now();
      state = next;
      view = viewPool(next.objects);
      show(Date.now());
      const pause = Math.max(MIN_PAUSE, performance.now() - start);
      await sleep(pause, undefined, { signal }).catch(() => {}); // rejects only when aborted
    }
  }

  return {
    get isKnown() {
      return view !== undefined;
    },
    wayOf(namespace, name) {
      const isOwn = ({ metadata }: Pod) => metadata.namespace === namespace && metadata.name === name;
      const pod = state?.objects.pods?.find(isOwn);
      return pod && view && wayOfPod(pod, view);
    },
    async run(signal) {
      const ended = new AbortController();
      const untilEnded = AbortSignal.any([signal, ended.signal]);
      const parts = [follow(untilEnded), sample(untilEnded)];
      try {
        await Promise.all(parts.map((part) => part.finally(() => ended.abort()))); // the first part that ends stops the others
      } finally {
        await Promise.allSettled(parts);
      }
    },
  };
}
