import { claimSpec } from "../../controller/claims/claim_spec.ts";
import { waitFor } from "../../e2e/steps/kubectl.ts";
import { ignoreStatus } from "../../kubernetes/error.ts";
import { claimsOfPod, type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ApiObject, watchObjects } from "../../kubernetes/watch.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { ANNOTATIONS, SHARE_LIMITS, UNITS } from "../../webhook/pod/keys.ts";

const NAMESPACE = "bench-scheduling";
const PODS_PATH = `/api/v1/namespaces/${NAMESPACE}/pods`;
const CLAIMS_PATH = `/apis/resource.k8s.io/v1/namespaces/${NAMESPACE}/resourceclaims`;
/** Concurrent requests of this program. */
const PARALLEL = 16;

/** Where the claims of pods come from: Kubernetes creates them from a template, or the controller for annotated pods. */
export type ClaimOrigin = "none" | "template" | "controller";

/** Batches of pods, one after the other. */
export interface PodBatches {
  /** Creates pods, and waits until all are bound. Returns the seconds this took. @throws {Error} after ten minutes. */
  schedule(claims: ClaimOrigin): Promise<number>;
  /** Creates this many annotated pods, one at a time. Returns the times until the controller has created their claims, in ms. */
  claimDelays(count: number): Promise<number[]>;
  /** Deletes all pods and their claims, and waits until they are gone. */
  clear(): Promise<void>;
}

interface PodTemplate {
  readonly metadata: object;
  readonly spec: object;
}

export interface PodBatchOptions {
  request: KubernetesRequest;
  /** Pods of a batch. */
  count: number;
  nodeSelector: Readonly<Record<string, string>>;
}

/** Creates the namespace of the pods, and a claim template for half of a GPU. */
export async function createPodBatches({ request, count, nodeSelector }: PodBatchOptions): Promise<PodBatches> {
  const template = "half";
  await request("/api/v1/namespaces", { method: "POST", body: { metadata: { name: NAMESPACE } } });
  await request(`/apis/resource.k8s.io/v1/namespaces/${NAMESPACE}/resourceclaimtemplates`, {
    method: "POST",
    body: {
      metadata: { name: template },
      spec: { spec: claimSpec({ share: { gpus: 1, percent: 50 }, units: 50, filters: [] }) },
    },
  });
  // Pods are rejected until the namespace has its service account.
  const account = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/default`;
  await waitFor("the service account", () => request(account).then(Boolean, () => false));

  const podWith = (annotations: Record<string, string>, spec: object): PodTemplate => ({
    metadata: { annotations },
    spec: { nodeSelector, tolerations: [{ operator: "Exists" }], ...spec },
  });
  const withContainer = (resources: object) => ({
    containers: [{ name: "main", image: "none", command: ["none"], resources }],
  });
  const requests = { cpu: "1m" };
  const limits = { [SHARE_LIMITS.num]: "1", [SHARE_LIMITS.percent]: "50" };
  const annotated = podWith({ [ANNOTATIONS.mode]: "yes" }, withContainer({ requests, limits }));
  const { spec: injected } = await createPod("injected", annotated, { dryRun: "All" });
  const resourceClaims = injected.resourceClaims?.map(({ name }) => ({ name, resourceClaimTemplateName: template }));
  const pods: Readonly<Record<ClaimOrigin, PodTemplate>> = {
    none: podWith({}, withContainer({ requests })),
    // What the webhook makes of an annotated pod, without its units. It reviews this one, too, and leaves it alone.
    template: podWith({ [ANNOTATIONS.mode]: "none" }, { ...withoutUnits(injected), resourceClaims }),
    controller: annotated,
  };

  async function createPod(name: string, pod: PodTemplate, query: Record<string, string> = {}): Promise<Pod> {
    const body = { ...pod, metadata: { ...pod.metadata, name } };
    const response = await request(PODS_PATH, { method: "POST", body, query, timeout: 60_000 });
    return (await response.json()) as Pod;
  }

  async function listNames(path: string): Promise<string[]> {
    const { items } = (await (await request(path)).json()) as { items: ApiObject[] };
    return items.map(({ metadata }) => metadata.name);
  }

  async function deleteClaim(name: string): Promise<void> {
    const path = `${CLAIMS_PATH}/${name}`;
    const contentType = "application/merge-patch+json";
    await ignoreStatus(404, request(path, { method: "PATCH", body: { metadata: { finalizers: null } }, contentType }));
    await ignoreStatus(404, request(path, { method: "DELETE" }));
  }

  return {
    async schedule(origin) {
      const deadline = AbortSignal.timeout(600_000);
      const bound = waitUntilBound(request, count, deadline);
      const start = performance.now();
      const names = Array.from({ length: count }, (_, index) => `pod-${index}`);
      await forEach(names, async (name) => void (await createPod(name, pods[origin])));
      return ((await bound) - start) / 1000;
    },
    async claimDelays(count) {
      const stop = new AbortController();
      const created = createLatest<ReadonlyMap<string, number>>(new Map());
      const following = followClaims(request, created, stop.signal);
      const delays: number[] = [];
      try {
        for (let index = 0; index < count; index++) {
          const pod = await createPod(`alone-${index}`, pods.controller);
          const start = performance.now();
          const [name = ""] = claimsOfPod(pod).values();
          delays.push((await untilCreated(created, name)) - start);
          await request(podPath(pod), { method: "DELETE", body: { gracePeriodSeconds: 0 } });
        }
        return delays;
      } finally {
        stop.abort();
        await following;
      }
    },
    async clear() {
      // No kubelet confirms the end of a pod. The controller manager would delete the claims, too, but at its own rate.
      await request(PODS_PATH, { method: "DELETE", body: { gracePeriodSeconds: 0 }, timeout: 60_000 });
      await waitFor("the pods and their claims to be deleted", async () => {
        const claims = await listNames(CLAIMS_PATH);
        await forEach(claims, deleteClaim);
        return claims.length === 0 && (await listNames(PODS_PATH)).length === 0;
      });
    },
  };
}

function withoutUnits(spec: Pod["spec"]): Pod["spec"] {
  return JSON.parse(JSON.stringify(spec, (key, value) => (key === UNITS ? undefined : value)));
}

/** Waits until this many pods are bound. Returns when the last one was, as performance.now() tells it. */
async function waitUntilBound(request: KubernetesRequest, count: number, signal: AbortSignal): Promise<number> {
  const transform = ({ spec }: Pod) => spec.nodeName;
  const names = new Set<string>();
  for await (const change of watchObjects({ request, path: PODS_PATH, transform, log: silentLog }, signal)) {
    if (change.type === "replace") for (const name of change.objects.keys()) names.add(name);
    if (change.type === "put") names.add(change.key);
    if (names.size === count) return performance.now();
  }
  throw new Error(`${names.size} of ${count} pods were bound within ten minutes`);
}

/** Notes when claims are created, by name. */
async function followClaims(
  request: KubernetesRequest,
  created: Latest<ReadonlyMap<string, number>>,
  signal: AbortSignal,
): Promise<void> {
  const watch = { request, path: CLAIMS_PATH, transform: ({ metadata }: ApiObject) => metadata.name, log: silentLog };
  for await (const change of watchObjects(watch, signal)) {
    if (change.type !== "put" || created.current?.has(change.object)) continue;
    created.set(new Map(created.current).set(change.object, performance.now()));
  }
}

async function untilCreated(created: Latest<ReadonlyMap<string, number>>, name: string): Promise<number> {
  for await (const times of created.changes(AbortSignal.timeout(60_000))) {
    const time = times.get(name);
    if (time !== undefined) return time;
  }
  throw new Error(`Claim ${name} was not created within a minute`);
}

async function forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}
