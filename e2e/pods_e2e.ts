import { expect } from "bun:test";
import { ExecError } from "./exec.ts";
import { WORKLOAD } from "./images.ts";
import { apply, get, kubectl, waitForSuccess, waitForUnits } from "./kubectl.ts";
import { leasesOf } from "./leases.ts";
import { examplePod, type PodManifest, sharePod } from "./pods.ts";
import { POOL_UNITS } from "./pool.ts";
import { scenario } from "./scenario.ts";

scenario("every node shows the pool's units as allocatable", async () => {
  await waitForUnits("allocatable", POOL_UNITS);
  await waitForUnits("capacity", POOL_UNITS);
});

scenario("the original's example pod completes, on a lease of exactly its share", async (namespace) => {
  await apply(await examplePod(namespace));
  expect(await waitForSuccess(namespace, "bf-pkgs")).toContain("total images/sec");
  const leases = await leasesOf(namespace, "bf-pkgs");
  expect(leases.map(({ owner, gpus }) => [owner.container, gpus.map(({ units }) => units)])).toEqual([
    ["bf-pkgs", [100]],
  ]);
});

scenario("a pod of 2 GPUs at 75 percent gets 150 units, on two different GPUs", async (namespace) => {
  await apply(sharePod({ namespace, name: "two", num: 2, percent: 75 }));
  await waitForSuccess(namespace, "two");
  const { spec } = await get<PodManifest>("pod", "two", "-n", namespace);
  expect(spec.containers[0]?.resources).toEqual({
    limits: { "bitfusion.io/gpu": "150" },
    requests: { "bitfusion.io/gpu": "150" },
  });
  const shares = (await leasesOf(namespace, "two")).flatMap(({ gpus }) => gpus);
  expect(shares.map(({ units }) => units)).toEqual([75, 75]);
  expect(new Set(shares.map(({ gpuId }) => gpuId)).size).toBe(2);
});

scenario("a wrong percent is refused with container, key, value and range", async (namespace) => {
  const answer = await apply(sharePod({ namespace, name: "wrong", num: 1, percent: 150 })).catch((error) => error);
  expect(answer).toBeInstanceOf(ExecError);
  expect(answer.output).toContain(
    `Container "main": limits["bitfusion.io/gpu-percent"] is "150": expected a whole number from 1 to 100`,
  );
});

scenario("a pod without the annotation runs untouched", async (namespace) => {
  await apply({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "plain", namespace },
    spec: { restartPolicy: "Never", containers: [{ name: "main", image: WORKLOAD, command: ["echo", "hello"] }] },
  });
  expect(await waitForSuccess(namespace, "plain")).toBe("hello\n");
  const { metadata, spec } = await get<PodManifest>("pod", "plain", "-n", namespace);
  expect(metadata.annotations ?? {}).not.toHaveProperty("auto-management/status");
  expect(spec.initContainers).toBeUndefined();
  expect(spec.containers[0]?.command).toEqual(["echo", "hello"]);
  expect(spec.containers[0]?.resources).toEqual({});
});

scenario("the tokens reach the pod's namespace, and a dry run writes none", async (namespace) => {
  const pod = sharePod({ namespace, name: "dry", num: 1, percent: 1 });
  await apply({ ...pod }).then(() => kubectl("get", "secret", "bitfusion-secret", "-n", namespace));
  const empty = `${namespace}-dry`;
  await kubectl("create", "namespace", empty);
  try {
    await kubectl(
      "run",
      "dry",
      "-n",
      empty,
      `--image=${WORKLOAD}`,
      "--dry-run=server",
      "--annotations=auto-management/bitfusion=yes",
      `--overrides={"spec":{"containers":[{"name":"dry","image":"${WORKLOAD}","command":["true"],"resources":{"limits":{"bitfusion.io/gpu-num":"1"}}}]}}`,
    );
    expect(await kubectl("get", "secrets", "-n", empty, "-o", "name")).toBe("");
  } finally {
    await kubectl("delete", "namespace", empty, "--wait=false");
  }
});
