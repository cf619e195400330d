import { expect } from "bun:test";
import { ROLLOUT } from "../cluster/commands.ts";
import { WORKLOAD } from "../cluster/images.ts";
import { testCatalogue } from "../cluster/install.ts";
import { POOL_UNITS } from "../cluster/pool.ts";
import { leasesOf } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { writeCatalogue } from "../steps/installation.ts";
import { apply, get, kubectl, rejectionMessage, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { type PodManifest, pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const UNITS = "bitfusion.io/gpu";
const WEBHOOK = "app.kubernetes.io/name=bitfusion-webhook";
const SHOW_GPUS = ["printenv", "BITFUSION_GPUS"];

/** Returns by container the units of each GPU that a pod has leased, on any pool server. */
async function unitsByContainer(namespace: string, name: string): Promise<Record<string, number[]>> {
  const units: Record<string, number[]> = {};
  for (const { owner, gpus } of await leasesOf(namespace, name)) {
    units[owner.container] = [...(units[owner.container] ?? []), ...gpus.map((gpu) => gpu.units)];
  }
  return units;
}

scenario.concurrent("mode injection adds the client but does not change the command", async (namespace) => {
  const command = ["/bitfusion/bin/bitfusion", "run", "-n", "1", "-p", "0.2", "--", ...SHOW_GPUS];
  const containers = [{ name: "main", command, resources: share(1, 20) }];
  await apply(pod({ namespace, name: "own", mode: "injection", containers }));
  await waitForSuccess(namespace, "own");
  expect(await unitsByContainer(namespace, "own")).toEqual({ main: [20] });
});

scenario.concurrent("mode none does not change the pod", async (namespace) => {
  await apply(pod({ namespace, name: "none", mode: "none", containers: [{ name: "main", command: ["true"] }] }));
  await waitForSuccess(namespace, "none");
  expect((await get<PodManifest>("pod", "none", "-n", namespace)).spec.initContainers).toBeUndefined();
});

scenario.concurrent(
  "each GPU container of a pod gets its own share, and an init container that of an app container",
  async (namespace) => {
    const initContainers = [
      { name: "prepare", command: SHOW_GPUS, resources: share(1, 10) },
      { name: "proxy", restartPolicy: "Always" as const, command: ["sleep", "600"] },
    ];
    const containers = [
      { name: "one", command: SHOW_GPUS, resources: share(1, 30) },
      { name: "two", command: SHOW_GPUS, resources: share(2, 20) },
      { name: "none", command: ["echo", "no GPU"] },
    ];
    await apply(pod({ namespace, name: "many", mode: "yes", initContainers, containers }));
    await waitForSuccess(namespace, "many");
    expect(await unitsByContainer(namespace, "many")).toEqual({ "one prepare": [30], two: [20, 20] });
  },
);

scenario.concurrent("a memory limit is converted to units of a GPU", async (namespace) => {
  const resources = { limits: { "bitfusion.io/gpu-amount": 1, "bitfusion.io/gpu-memory": "4480M" } };
  await apply(
    pod({ namespace, name: "memory", mode: "all", containers: [{ name: "main", command: SHOW_GPUS, resources }] }),
  );
  await waitForSuccess(namespace, "memory");
  const { spec } = await get<PodManifest>("pod", "memory", "-n", namespace);
  expect(spec.containers[0]?.resources?.limits).toEqual({ [UNITS]: "28" });
  expect(await unitsByContainer(namespace, "memory")).toEqual({ main: [28] });
});

scenario.concurrent("pods of a Job, which have no name at admission, get their share", async (namespace) => {
  const { metadata, spec } = sharePod({ namespace, name: "job", num: 1, percent: 5 });
  const template = { metadata: { annotations: metadata.annotations }, spec };
  await apply({ apiVersion: "batch/v1", kind: "Job", metadata: { name: "job", namespace }, spec: { template } });
  await kubectl("wait", "-n", namespace, "job/job", "--for=condition=Complete", "--timeout=120s");
});

scenario.concurrent("a ResourceQuota counts units, and the CPU and memory of the init container", async (namespace) => {
  const hard = { [`requests.${UNITS}`]: 100, "requests.cpu": 1, "limits.memory": "1Gi" };
  await apply({ apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "quota", namespace }, spec: { hard } });
  const manifest = (name: string, percent: number) => {
    const resources = { limits: { ...share(1, percent).limits, memory: "64Mi" }, requests: { cpu: "10m" } };
    return pod({ namespace, name, mode: "yes", containers: [{ name: "main", command: ["sleep", "600"], resources }] });
  };
  await apply(manifest("fits", 60));
  expect(await rejectionMessage(manifest("exceeds", 60))).toContain(
    `exceeded quota: quota, requested: requests.${UNITS}=60`,
  );
});

scenario.concurrent("the init container complies with the defaults and maximums of a LimitRange", async (namespace) => {
  const limits = [{ type: "Container", default: { cpu: "1", memory: "512Mi" }, max: { cpu: "1", memory: "512Mi" } }];
  await apply({ apiVersion: "v1", kind: "LimitRange", metadata: { name: "range", namespace }, spec: { limits } });
  await apply(sharePod({ namespace, name: "ranged", num: 1, percent: 5 }));
  await waitForSuccess(namespace, "ranged");
});

scenario.concurrent(
  "the init container stays within pod-level limits, and a Guaranteed pod stays Guaranteed",
  async (namespace) => {
    const small = { cpu: "500m", memory: "192Mi" }; // less than the init container's own limits
    await apply(sharePod({ namespace, name: "small", num: 1, percent: 5, limits: small }));
    await waitForSuccess(namespace, "small");
    const resources = { limits: { ...share(1, 5).limits, ...small } };
    const containers = [{ name: "main", command: SHOW_GPUS, resources }];
    await apply(pod({ namespace, name: "guaranteed", mode: "yes", containers }));
    await waitForSuccess(namespace, "guaranteed");
    expect((await get<PodManifest>("pod", "guaranteed", "-n", namespace)).status?.qosClass).toBe("Guaranteed");
  },
);

scenario.concurrent(
  "a pod complies with Pod Security restricted, and attaches to its lease as non-root",
  async (namespace) => {
    await kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted");
    const securityContext = { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } };
    const restricted = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
    const containers = [{ name: "main", command: SHOW_GPUS, resources: share(1, 5), securityContext: restricted }];
    await apply(pod({ namespace, name: "restricted", mode: "yes", containers, securityContext }));
    await waitForSuccess(namespace, "restricted");
  },
);

scenario.concurrent(
  "a share or units without the annotation are rejected with a message that says what to set",
  async (namespace) => {
    const notAnnotated = pod({
      namespace,
      name: "not-annotated",
      containers: [{ name: "main", command: ["true"], resources: share(1, 5) }],
    });
    const message = `which has no effect without the annotation auto-management/bitfusion: "yes"`;
    expect(await rejectionMessage(notAnnotated)).toContain(message);
    const resources = { limits: { [UNITS]: 5 } };
    const withUnits = pod({ namespace, name: "units", containers: [{ name: "main", command: ["true"], resources }] });
    expect(await rejectionMessage(withUnits)).toContain(message);
  },
);

scenario.concurrent("a share larger than the entire pool is rejected at admission", async (namespace) => {
  const huge = sharePod({ namespace, name: "huge", num: 4, percent: 100 });
  const isRejected = () =>
    apply(huge, "--dry-run=server").then(
      () => false,
      () => true,
    );
  await waitFor("the webhook to know the pool, which the controller has just published", isRejected);
  expect(await rejectionMessage(huge)).toContain(
    `requests 400 units of ${UNITS}, but the whole pool has ${POOL_UNITS}`,
  );
});

scenario.concurrent("an annotation that has no effect causes a warning", async (namespace) => {
  const manifest = JSON.stringify(
    pod({ namespace, name: "idle", mode: "yes", containers: [{ name: "main", command: ["true"] }] }),
  );
  const output = await exec(["sh", "-c", "kubectl apply -f - 2>&1"], { stdin: manifest });
  expect(output).toContain("Warning: Annotation auto-management/bitfusion has no effect");
});

scenario(
  "the webhook loads a changed client catalogue without a restart, and reports and ignores an invalid one",
  async (namespace) => {
    const original = await testCatalogue();
    const manifest = sharePod({ namespace, name: "chosen", num: 1, percent: 5 });
    manifest.metadata.annotations = { ...manifest.metadata.annotations, "bitfusion-client/os": "e2e" };
    expect(await rejectionMessage(manifest)).toContain(
      'No client has bitfusion-client/os "e2e": expected one of stand-in 1, linux 1',
    );
    try {
      await writeCatalogue(original.replace("image: bitfusion-client:0.1.0", "imagine: bitfusion-client:0.1.0"));
      await waitFor("an Event about the ConfigMap that counts both replicas", async () => {
        const selector = "--field-selector=involvedObject.name=bitfusion-clients,reason=CatalogueRefused";
        const { items } = await get<{ items: { count: number }[] }>("events", "-n", "bitfusion-system", selector);
        return items.some(({ count }) => count >= 2);
      });
      await apply(sharePod({ namespace, name: "meanwhile", num: 1, percent: 5 }));
      await writeCatalogue(original.replace("os: linux", "os: e2e"));
      await waitFor("the new catalogue", () => apply(manifest).then(Boolean, () => false));
      await waitForSuccess(namespace, "chosen");
    } finally {
      await writeCatalogue(original);
    }
  },
);

scenario(
  "without webhook replicas, only annotated pods and pods that request GPUs in a labelled namespace are rejected, with a reason",
  async (namespace) => {
    await kubectl("label", "namespace", namespace, "bitfusion.io/inject=enabled");
    const scale = (replicas: number) =>
      kubectl("scale", "-n", "bitfusion-system", "deployment/bitfusion-webhook", `--replicas=${replicas}`);
    await scale(0);
    try {
      await kubectl("wait", "-n", "bitfusion-system", "pod", "-l", WEBHOOK, "--for=delete", "--timeout=60s");
      await kubectl(
        "run",
        "plain",
        "-n",
        namespace,
        `--image=${WORKLOAD}`,
        "--restart=Never",
        "--command",
        "--",
        "true",
      );
      await waitForSuccess(namespace, "plain");
      const failed = 'failed calling webhook "mutate.bitfusion.io"';
      expect(await rejectionMessage(sharePod({ namespace, name: "annotated", num: 1, percent: 5 }))).toContain(failed);
      const resources = { limits: { "nvidia.com/gpu": 1 } };
      const chart = { namespace, containers: [{ name: "main", command: ["true"], resources }] };
      expect(await rejectionMessage(pod({ ...chart, name: "chart" }))).toContain(failed);
      await apply(pod({ ...chart, name: "none", mode: "none" }));
    } finally {
      await scale(2);
      for (const command of ROLLOUT) await exec(command.split(" "));
    }
    const manifest = sharePod({ namespace, name: "annotated", num: 1, percent: 5 });
    await waitFor("the Service to route to the replicas again", () => apply(manifest).then(Boolean, () => false));
    await waitForSuccess(namespace, "annotated");
  },
);
