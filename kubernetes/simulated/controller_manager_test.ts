import { expect, test } from "bun:test";
import { type Pod, podPath } from "../objects/pod.ts";
import { RESOURCE_CLAIMS, type ResourceClaim } from "../objects/resource_claim.ts";
import { reconcileClaims } from "./controller_manager.ts";
import { createObjectStore, type ObjectStore } from "./objects.ts";
import { claimOf, setPodStatus } from "./pods.ts";

const TEMPLATES = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates";
const SPEC = { devices: { requests: [{ name: "gpu", exactly: { deviceClassName: "bitfusion.io" } }] } };

function createPod(store: ObjectStore, claims: Pod["spec"]["resourceClaims"] & {}): Pod {
  const pod: Pod = { metadata: { namespace: "team", name: "train" }, spec: { containers: [], resourceClaims: claims } };
  store.put(podPath(pod), pod);
  return current(store);
}

function current(store: ObjectStore): Pod {
  const pod = store.get<Pod>("/api/v1/namespaces/team/pods/train");
  if (!pod) throw new Error("The pod does not exist");
  return pod;
}

function putTemplate(store: ObjectStore, name: string): void {
  store.put(`${TEMPLATES}/${name}`, { spec: { metadata: { annotations: { a: name } }, spec: SPEC } } as never);
}

test("reconcileClaims() makes one claim per template of a pod, owned by the pod", () => {
  const store = createObjectStore();
  putTemplate(store, "x");
  putTemplate(store, "y");
  const pod = createPod(store, [
    { name: "one", resourceClaimTemplateName: "x" },
    { name: "two", resourceClaimTemplateName: "y" },
  ]);
  for (let round = 0; round < 2; round++) reconcileClaims(store);
  expect(store.list(RESOURCE_CLAIMS)).toHaveLength(2);
  expect(claimOf(store, current(store), "two")).toMatchObject({
    metadata: {
      annotations: { a: "y", "resource.kubernetes.io/pod-claim-name": "two" },
      ownerReferences: [{ kind: "Pod", name: "train", uid: pod.metadata.uid }],
    },
    spec: SPEC,
  });
});

test("reconcileClaims() makes the claim once the template exists", () => {
  const store = createObjectStore();
  createPod(store, [{ name: "one", resourceClaimTemplateName: "x" }]);
  reconcileClaims(store);
  expect(claimOf(store, current(store), "one")).toBeUndefined();
  putTemplate(store, "x");
  reconcileClaims(store);
  expect(claimOf(store, current(store), "one")).toBeDefined();
});

test.each([
  ["has ended", (store: ObjectStore) => setPodStatus(store, current(store), { phase: "Succeeded" })],
  ["is gone", (store: ObjectStore) => store.remove("/api/v1/namespaces/team/pods/train")],
])("reconcileClaims() deletes the claims of a pod that %s, and no others", (_, end) => {
  const store = createObjectStore();
  putTemplate(store, "x");
  createPod(store, [{ name: "one", resourceClaimTemplateName: "x" }]);
  store.put(RESOURCE_CLAIMS.replace("/v1/", "/v1/namespaces/team/").concat("/own"), { spec: SPEC } as never);
  reconcileClaims(store);
  end(store);
  reconcileClaims(store);
  expect(store.list<ResourceClaim>(RESOURCE_CLAIMS).map(({ metadata }) => metadata.name)).toEqual(["own"]);
});
