import { expect } from "bun:test";
import { leasesOf } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, rejectionMessage, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { type ContainerManifest, type PodManifest, pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

// Pods that run without the client as they are run with it, or are refused with a message that says why.

const EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";

/** A container with a share of 5 percent, beside other limits and requests. */
function gpuContainer(
  limits: Record<string, string>,
  { requests = {}, ...rest }: Partial<ContainerManifest> & { requests?: Record<string, string> } = {},
): ContainerManifest {
  const resources = { limits: { ...share(1, 5).limits, ...limits }, requests };
  return { name: "main", command: ["printenv", "BITFUSION_GPUS"], resources, ...rest };
}

scenario.concurrent("a Guaranteed pod of 100m and 64Mi keeps its requests and its QoS class", async (namespace) => {
  const small = { cpu: "100m", memory: "64Mi" };
  await apply(pod({ namespace, name: "small", mode: "yes", containers: [gpuContainer(small)] }));
  // the client in the container would take half a minute with so little memory
  await kubectl("wait", "-n", namespace, "pod/small", "--for=condition=Initialized", "--timeout=120s");
  const { spec, status } = await get<PodManifest>("pod", "small", "-n", namespace);
  expect(spec.initContainers?.map(({ name, resources }) => [name, resources])).toEqual([
    ["bitfusion-client", { limits: small, requests: small }],
  ]);
  expect(status?.qosClass).toBe("Guaranteed");
});

scenario.concurrent("a pod that obeys a LimitRange with a ratio, and a quota of limits, runs", async (namespace) => {
  const limits = [
    { type: "Container", min: { cpu: "100m" }, max: { cpu: "500m" }, maxLimitRequestRatio: { cpu: "4" } },
  ];
  await apply({ apiVersion: "v1", kind: "LimitRange", metadata: { name: "range", namespace }, spec: { limits } });
  const hard = { "limits.cpu": "400m", "limits.memory": "128Mi" };
  await apply({ apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "quota", namespace }, spec: { hard } });
  const container = gpuContainer({ cpu: "400m", memory: "128Mi" }, { requests: { cpu: "100m" } });
  await apply(pod({ namespace, name: "ranged", mode: "yes", containers: [container] }));
  await waitForSuccess(namespace, "ranged");
});

scenario.concurrent("a container may be called populate, but not as the injected one", async (namespace) => {
  const containers = [gpuContainer({}, { name: "populate" })];
  await apply(pod({ namespace, name: "populate", mode: "yes", containers }));
  await waitForSuccess(namespace, "populate");
  const taken = [gpuContainer({}, { name: "bitfusion-client" })];
  expect(await rejectionMessage(pod({ namespace, name: "taken", mode: "yes", containers: taken }))).toContain(
    'Container "bitfusion-client": the webhook adds an init container of this name, expected another name',
  );
});

scenario.concurrent(
  "a volume above the client's paths is refused with both names if it is read-only, and works if not",
  async (namespace) => {
    const mounting = (name: string, mountPath: string, mount: { readOnly?: boolean } = {}) => {
      const volumes = [{ name: "own", emptyDir: {} }];
      const containers = [gpuContainer({}, { volumeMounts: [{ name: "own", mountPath, ...mount }] })];
      return pod({ namespace, name, mode: "yes", containers, volumes });
    };
    expect(await rejectionMessage(mounting("read-only", "/opt", { readOnly: true }))).toContain(
      'Container "main": volume "own" is mounted read-only at /opt, so the client\'s volume "bitfusion-opt" cannot be mounted below it, at /opt/bitfusion: expected another path',
    );
    expect(await rejectionMessage(mounting("spelled", "/opt//bitfusion/"))).toContain(
      'volume "own" is mounted at /opt//bitfusion/, where the client\'s volume "bitfusion-opt" is mounted',
    );
    await apply(mounting("writable", "/opt"));
    await waitForSuccess(namespace, "writable");
  },
);

scenario.concurrent("LD_LIBRARY_PATH of the image and of envFrom stays reachable", async (namespace) => {
  const show = { command: ["printenv", "LD_LIBRARY_PATH"] };
  await apply(pod({ namespace, name: "image", mode: "yes", containers: [gpuContainer({}, show)] }));
  const data = { LD_LIBRARY_PATH: "/from/config" };
  await apply({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "paths", namespace }, data });
  const envFrom = [{ configMapRef: { name: "paths" } }];
  await apply(pod({ namespace, name: "config", mode: "yes", containers: [gpuContainer({}, { ...show, envFrom })] }));
  expect(await waitForSuccess(namespace, "image")).toContain("/bitfusion/lib:/usr/local/image/lib\n");
  expect(await waitForSuccess(namespace, "config")).toContain("/bitfusion/lib:/from/config\n");
});

scenario.concurrent("a pod runs that is created from the JSON of another, in another namespace", async (namespace) => {
  await apply(sharePod({ namespace, name: "original", num: 1, percent: 5 }));
  await waitForSuccess(namespace, "original");
  const { apiVersion, kind, metadata, spec } = await get<PodManifest>("pod", "original", "-n", namespace);
  expect(spec.nodeName).toBeDefined();
  const other = `${namespace}-other`;
  await kubectl("create", "namespace", other);
  try {
    const { annotations = {} } = metadata;
    await apply({ apiVersion, kind, metadata: { name: "copy", namespace: other, annotations }, spec });
    await waitForSuccess(other, "copy");
    expect(await leasesOf(other, "copy")).toHaveLength(1);
  } finally {
    await kubectl("delete", "namespace", other, "--wait=false");
  }
});

scenario.concurrent(
  "a limit of ephemeral storage that the client alone exceeds is refused with both numbers",
  async (namespace) => {
    const limited = (name: string, storage: string) => {
      const command = ["du", "-sm", "/bitfusion"];
      const containers = [gpuContainer({ "ephemeral-storage": storage }, { command })];
      const manifest = pod({ namespace, name, mode: "yes", containers });
      manifest.metadata.annotations = { ...manifest.metadata.annotations, [EVICTABLE]: "cache" };
      return manifest;
    };
    expect(await rejectionMessage(limited("small", "100Mi"))).toContain(
      `limits["ephemeral-storage"] are 100Mi together, but the client simulated takes 110Mi of them`,
    );
    const stdin = JSON.stringify(limited("large", "120Mi"));
    expect(await exec(["sh", "-c", "kubectl apply -f - 2>&1"], { stdin })).toContain(
      "Warning: The client takes 110Mi of the pod's 120Mi of ephemeral-storage",
    );
    const [, size] = /^(\d+)\t\/bitfusion$/m.exec(await waitForSuccess(namespace, "large")) ?? [];
    expect(Number(size)).toBeLessThanOrEqual(110);
    expect(Number(size)).toBeGreaterThan(50);
    const { metadata } = await get<PodManifest>("pod", "large", "-n", namespace);
    expect(metadata.annotations?.[EVICTABLE]).toBe("cache,bitfusion-client,bitfusion-opt");
  },
);

scenario.concurrent("a pod with a scheduling gate is told what the pool lacks, as others are", async (namespace) => {
  const filter = "server.hostname=bitfusion-pool-b"; // it has one GPU
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 40, filter, command: ["sleep", "600"] }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const gated = sharePod({ namespace, name: "gated", num: 1, percent: 90, filter });
  gated.spec.schedulingGates = [{ name: "example.com/gate" }];
  await apply(gated);
  await waitFor("the event of the gated pod", async () => {
    const events = await kubectl("events", "-n", namespace, "--for=pod/gated");
    return events.includes(`Waiting for the pool: needs 90 % of one GPU that matches ${filter}`);
  });
});
