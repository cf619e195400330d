import { expect, test } from "bun:test";
import { type Pod, podPath, podReference } from "../objects/pod.ts";
import { claimPath, RESOURCE_CLAIMS, type ResourceClaim } from "../objects/resource_claim.ts";
import { reconcileClaims } from "./controller_manager.ts";
import { createObjectStore, type ObjectStore } from "./objects.ts";
import { setPodStatus } from "./pods.ts";

const PATH = "/api/v1/namespaces/team/pods/train";

test.each([
  ["has ended", (store: ObjectStore) => setPodStatus(store, store.get<Pod>(PATH) as Pod, { phase: "Succeeded" })],
  ["is gone", (store: ObjectStore) => store.remove(PATH)],
])("reconcileClaims() deletes the claims of a pod that %s, and no others", (_, end) => {
  const store = createObjectStore();
  const pod: Pod = { metadata: { namespace: "team", name: "train" }, spec: { containers: [] } };
  store.put(podPath(pod), pod);
  const ownerReferences = [podReference(store.get<Pod>(PATH) as Pod)];
  store.put(claimPath("team", "of-pod"), { metadata: { ownerReferences }, spec: {} });
  store.put(claimPath("team", "own"), { spec: {} });
  const names = () => store.list<ResourceClaim>(RESOURCE_CLAIMS).map(({ metadata }) => metadata.name);
  reconcileClaims(store);
  expect(names()).toEqual(["of-pod", "own"]);
  end(store);
  reconcileClaims(store);
  expect(names()).toEqual(["own"]);
});
