import { expect } from "bun:test";
import { CUDA, WORKLOAD } from "../cluster/images.ts";
import { gpusOfLease } from "../steps/cuda.ts";
import { apply, kubectl } from "../steps/kubectl.ts";
import { scenario } from "../steps/scenario.ts";
import { readTemplates } from "../templates/templates.ts";

type Container = Readonly<Record<string, unknown>> & { name: string; resources?: { limits?: Record<string, unknown> } };
type Volume = { name: string; emptyDir?: object };

/** Pods whose command is a program that their init container copies into a volume. */
const WITHOUT_STAND_IN = ["argo_container", "argo_script"];

const GPU = "nvidia.com/gpu";

/** The image of a GPU container becomes one that stands in for it. What the container runs stays, and what the test cluster lacks is left out. */
function standIn({ resources, env, ...container }: Container): Container {
  const { livenessProbe, readinessProbe, startupProbe, envFrom, command, args, ...rest } = container;
  const amount = resources?.limits?.[GPU];
  if (amount === undefined) return { ...rest, name: container.name, image: WORKLOAD, command: ["true"] };
  const values = (env as { valueFrom?: object }[] | undefined)?.filter(({ valueFrom }) => valueFrom === undefined);
  return {
    ...rest,
    name: container.name,
    image: CUDA,
    imagePullPolicy: "IfNotPresent",
    ...(values ? { env: values } : {}),
    ...(command ? { command } : {}),
    ...(args ? { args } : {}),
    resources: { limits: { [GPU]: amount } },
  };
}

scenario(
  "pods as other projects create them reach their GPUs, if their images are stood in for",
  async (namespace) => {
    await kubectl("label", "namespace", namespace, "bitfusion.io/inject=enabled");
    const templates = (await readTemplates()).filter(({ name }) => !WITHOUT_STAND_IN.includes(name));
    const names = new Map<string, string>();
    for (const { name, pod } of templates) {
      const { nodeSelector, serviceAccountName, volumes, ...spec } = pod.spec;
      const containers = pod.spec.containers as Container[];
      const gpuContainer = containers.find(({ resources }) => resources?.limits?.[GPU] !== undefined);
      names.set(name, gpuContainer?.name ?? "");
      await apply({
        apiVersion: "v1",
        kind: "Pod",
        metadata: {
          ...pod.metadata,
          name: name.replaceAll("_", "-"),
          namespace,
          annotations: { ...pod.metadata.annotations, "bitfusion-client/os": "stand-in" },
        },
        spec: {
          ...spec,
          restartPolicy: "Never",
          containers: containers.map(standIn),
          ...(spec.initContainers ? { initContainers: (spec.initContainers as Container[]).map(standIn) } : {}),
          volumes: ((volumes as Volume[] | undefined) ?? []).map(({ name, emptyDir = {} }) => ({ name, emptyDir })),
        },
      });
    }
    for (const [name, container] of names) {
      const pod = name.replaceAll("_", "-");
      await kubectl(
        "wait",
        "-n",
        namespace,
        `pod/${pod}`,
        "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=180s",
      );
      const log = await kubectl("logs", "-n", namespace, pod, "-c", container);
      expect(log, name).toContain(await gpusOfLease(namespace, pod, container));
      expect(log, name).toContain(" MB\n");
    }
  },
  { timeout: 420_000 },
);
