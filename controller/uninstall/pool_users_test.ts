import { expect, test } from "bun:test";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { claim } from "../../pool/claims/testing.ts";
import { listPoolUsers } from "./pool_users.ts";

/** Lists the users of a pool in a cluster with these pods and claims. */
async function usersWith(objects: Readonly<Record<string, object>>): Promise<string[]> {
  await using api = startSimulatedApiServer();
  for (const [path, object] of Object.entries(objects)) api.store.put(path, object);
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  return await listPoolUsers(request, AbortSignal.timeout(4000));
}

const podPath = (name: string) => `/api/v1/namespaces/team/pods/${name}`;
const claimPath = (name: string) => `/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/${name}`;
const container = { resources: { limits: { "bitfusion.io/gpu": "60" } } };

test("listPoolUsers() names pods with units that have not ended, and no other pods", async () => {
  const users = await usersWith({
    [podPath("running")]: { spec: { containers: [container] }, status: { phase: "Running" } },
    [podPath("in-init")]: { spec: { initContainers: [container], containers: [{}] }, status: { phase: "Pending" } },
    [podPath("terminating")]: { metadata: { deletionTimestamp: "x" }, spec: { containers: [container] } },
    [podPath("succeeded")]: { spec: { containers: [container] }, status: { phase: "Succeeded" } },
    [podPath("failed")]: { spec: { containers: [container] }, status: { phase: "Failed" } },
    [podPath("other")]: { spec: { containers: [{}] }, status: { phase: "Running" } },
  });
  expect(users).toEqual(["pod team/in-init", "pod team/running", "pod team/terminating"]);
});

test("listPoolUsers() names each pod of a claim that holds or waits for GPUs once, and a claim without a pod", async () => {
  const held = claim("held", { allocated: { "bitfusion-0/a": 60 } });
  const [reader, train] = ["reader", "train"].map((name) => ({ resource: "pods", name, uid: `uid-${name}` }));
  const controller = (name: string) => [{ apiVersion: "v1", kind: "Pod", name, uid: `uid-${name}`, controller: true }];
  const users = await usersWith({
    [podPath("train")]: { spec: { containers: [container] }, status: { phase: "Running" } },
    [claimPath("held")]: {
      ...held,
      metadata: { ownerReferences: controller("train") },
      status: { ...held.status, reservedFor: [reader, train] },
    },
    [claimPath("waiting")]: { ...claim("waiting"), metadata: { ownerReferences: controller("waits") } },
    [claimPath("own")]: { ...claim("own", { allocated: { "bitfusion-0/a": 10 } }), metadata: {} },
    [claimPath("other")]: { spec: { devices: { requests: [{ exactly: { deviceClassName: "gpu.example" } }] } } },
  });
  expect(users).toEqual(["claim team/own", "pod team/reader", "pod team/train", "pod team/waits"]);
});
