import { expect } from "bun:test";
import { leasesOf } from "../records/pool_log.ts";
import {
  apply,
  get,
  kubectl,
  NODE_CAPACITY,
  rejectionMessage,
  waitForSuccess,
  waitForUnits,
} from "../steps/kubectl.ts";
import { exampleJob, type PodManifest, pod, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

scenario.concurrent("the API server accepts kubectl apply -k .", async () => {
  const output = await kubectl("apply", "-k", ".", "--dry-run=server");
  expect(output).toContain("daemonset.apps/bitfusion-device-plugin");
  expect(output).toContain("deployment.apps/bitfusion-webhook");
});

scenario.concurrent("every worker node has a capacity of units that is never in the way", async () => {
  await waitForUnits("allocatable", NODE_CAPACITY);
  await waitForUnits("capacity", NODE_CAPACITY);
});

scenario.concurrent("the example Job completes with a lease of exactly its share", async (namespace) => {
  const job = await exampleJob(namespace);
  await apply(job);
  await apply(job); // a second time, which the API server refuses for a Pod
  await kubectl("wait", "-n", namespace, "job/bf-pkgs", "--for=condition=Complete", "--timeout=120s");
  expect(await kubectl("logs", "-n", namespace, "job/bf-pkgs")).toContain("total images/sec");
  const { items } = await get<{ items: PodManifest[] }>("pods", "-n", namespace, "-l", "job-name=bf-pkgs");
  const leases = await leasesOf(namespace, items[0]?.metadata.name ?? "");
  expect(leases.map(({ owner, gpus }) => [owner.container, gpus.map(({ units }) => units)])).toEqual([
    ["bf-pkgs", [100]],
  ]);
});

scenario.concurrent(
  "a pod that requests 2 GPUs at 75 percent gets 150 units on two different GPUs",
  async (namespace) => {
    await apply(sharePod({ namespace, name: "two", num: 2, percent: 75 }));
    await waitForSuccess(namespace, "two");
    const { spec } = await get<PodManifest>("pod", "two", "-n", namespace);
    expect(spec.containers[0]?.resources).toEqual({
      limits: { "bitfusion.io/gpu": "150" },
      requests: { "bitfusion.io/gpu": "150" },
      claims: [{ name: "bitfusion-main" }],
    });
    const shares = (await leasesOf(namespace, "two")).flatMap(({ gpus }) => gpus);
    expect(shares.map(({ units }) => units)).toEqual([75, 75]);
    expect(new Set(shares.map(({ gpuId }) => gpuId)).size).toBe(2);
  },
);

scenario.concurrent(
  "an invalid percent is rejected with a message that has container, key, value and range",
  async (namespace) => {
    expect(await rejectionMessage(sharePod({ namespace, name: "wrong", num: 1, percent: 150 }))).toContain(
      `Container "main": limits["bitfusion.io/gpu-percent"] is "150": expected a whole number from 1 to 100`,
    );
  },
);

scenario.concurrent("a pod without the annotation runs unchanged", async (namespace) => {
  await apply(pod({ namespace, name: "plain", containers: [{ name: "main", command: ["echo", "hello"] }] }));
  expect(await waitForSuccess(namespace, "plain")).toBe("hello\n");
  const { metadata, spec } = await get<PodManifest>("pod", "plain", "-n", namespace);
  expect(metadata.annotations ?? {}).not.toHaveProperty("auto-management/status");
  expect(spec.initContainers).toBeUndefined();
  expect(spec.containers[0]?.command).toEqual(["echo", "hello"]);
  expect(spec.containers[0]?.resources).toEqual({});
});

scenario.concurrent("with claims, no namespace gets the token of the pool", async (namespace) => {
  await apply(sharePod({ namespace, name: "train", num: 1, percent: 1 }));
  await waitForSuccess(namespace, "train");
  expect(await kubectl("get", "secrets", "-n", namespace, "-o", "name")).toBe("");
});
