import { bundleAssets } from "../../console/page/assets.ts";
import { servePage } from "../../console/page/page.ts";
import { readRecordedCluster } from "../../console/recorded/recorded_cluster.ts";
import type { Cluster } from "../../console/view/testing.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import type { ApiObject } from "../../kubernetes/watch.ts";
import { silentLog } from "../../program/testing.ts";

const RESOURCES = "/apis/resource.k8s.io/v1";

/** Where the API server has the objects of each kind. */
const PATHS: { readonly [K in keyof Cluster]: (object: ApiObject) => string } = {
  slices: ({ metadata }) => `${RESOURCES}/resourceslices/${metadata.name}`,
  claims: ({ metadata }) => `${RESOURCES}/namespaces/${metadata.namespace}/resourceclaims/${metadata.name}`,
  pods: ({ metadata }) => `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`,
  events: ({ metadata }) => `/api/v1/namespaces/${metadata.namespace}/events/${metadata.name}`,
  taintRules: ({ metadata }) => `${RESOURCES}/devicetaintrules/${metadata.name}`,
};

/** The page of the recorded cluster, whose objects tests can change. Disposal ends it. */
export interface RecordedPage extends AsyncDisposable {
  readonly url: string;
  readonly store: ObjectStore;
  readonly cluster: Cluster;
  /** Stores an object as it is now. */
  put(kind: keyof Cluster, object: ApiObject): void;
  remove(kind: keyof Cluster, object: ApiObject): void;
}

export async function startRecordedPage(): Promise<RecordedPage> {
  await using resources = new AsyncDisposableStack();
  const cluster = await readRecordedCluster();
  const api = resources.use(startSimulatedApiServer());
  const put = (kind: keyof Cluster, object: ApiObject) => api.store.put(PATHS[kind](object), object);
  for (const [kind, objects] of Object.entries(cluster) as [keyof Cluster, readonly ApiObject[]][]) {
    for (const object of objects) put(kind, object);
  }
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  const port = Promise.withResolvers<number>();
  const settings = { port: 0, metricsPort: 0, hosts: ["127.0.0.1"] };
  const options = { request, settings, assets: await bundleAssets(), log: silentLog, onServing: port.resolve };
  const served = servePage(options, stop.signal);
  served.catch(port.reject);
  resources.defer(async () => {
    stop.abort();
    await served;
  });
  const url = `http://127.0.0.1:${await port.promise}/`;
  const owned = resources.move();
  return {
    url,
    store: api.store,
    cluster,
    put,
    remove: (kind, object) => api.store.remove(PATHS[kind](object)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
