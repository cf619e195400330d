import { expect } from "bun:test";
import { CUDA } from "../cluster/images.ts";
import { leasesOf } from "../records/pool_log.ts";
import { cudaContainer, cudaPod, gpusOfLease, waitForGpus } from "../steps/cuda.ts";
import { apply, kubectl, waitForSuccess } from "../steps/kubectl.ts";
import { workload } from "../steps/pods.ts";
import { podOf } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";

// Containers without a command, whose image has an entrypoint and a libcuda.so.1 of its own.

/** What the Pod Security Standard `restricted` demands, and a root file system that is read-only. */
const RESTRICTED = {
  pod: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
  container: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true },
};

/** The workloads of a chart, and the share of their pods. */
const WORKLOADS = [
  { kind: "Deployment", name: "server", num: 1, percent: 5 },
  { kind: "StatefulSet", name: "store", num: 1, percent: 10 },
  { kind: "Job", name: "train", num: 2, percent: 5 },
] as const;

scenario.concurrent(
  "a Deployment, a StatefulSet and a Job reach exactly their own GPUs, in a restricted namespace",
  async (namespace) => {
    await kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted");
    for (const { kind, name, num, percent } of WORKLOADS) {
      const keeps = kind !== "Job";
      const container = cudaContainer({ num, percent, keeps, securityContext: RESTRICTED.container });
      const pod = cudaPod({ namespace, name, containers: [container], securityContext: RESTRICTED.pod });
      await apply(workload(kind, pod));
    }
    for (const { name } of WORKLOADS) await waitForGpus(namespace, await podOf(namespace, name));
    await kubectl("wait", "-n", namespace, "job/train", "--for=condition=Complete", "--timeout=60s");
  },
);

scenario.concurrent(
  "each container of a pod reaches exactly its own GPUs, and an init container those of a later one",
  async (namespace) => {
    const initContainers = [cudaContainer({ name: "prepare", num: 1, percent: 5 })];
    const containers = [
      cudaContainer({ name: "first", num: 1, percent: 5 }),
      cudaContainer({ name: "second", num: 2, percent: 10 }),
    ];
    const manifest = cudaPod({ namespace, name: "several", containers, initContainers });
    await apply({ ...manifest, spec: { ...manifest.spec, shareProcessNamespace: true } });
    await waitForSuccess(namespace, "several");
    expect(await leasesOf(namespace, "several")).toHaveLength(2);
    for (const name of ["prepare", "first", "second"]) {
      const log = await kubectl("logs", "-n", namespace, "several", "-c", name);
      expect(log, name).toBe(await gpusOfLease(namespace, "several", name));
    }
  },
);

scenario.concurrent("programs that the client is not for run as without it", async (namespace) => {
  const musl = cudaContainer({ name: "musl", command: ["musl-program"], num: 1, percent: 5 });
  const unshared = { name: "unshared", image: CUDA };
  await apply(cudaPod({ namespace, name: "others", containers: [musl, unshared] }));
  await kubectl("wait", "-n", namespace, "pod/others", "--for=jsonpath={.status.phase}=Failed", "--timeout=120s");
  const logs = ["musl", "unshared"].map((name) => kubectl("logs", "-n", namespace, "others", "-c", name));
  expect(await Promise.all(logs)).toEqual(["not attached\n", "cuInit: CUDA error 34\n"]); // the image's own libcuda.so.1
});
