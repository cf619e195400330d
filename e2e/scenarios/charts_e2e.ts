import { expect } from "bun:test";
import { leasesOf } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, waitForSuccess } from "../steps/kubectl.ts";
import { type PodManifest, pod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";
import { readTemplates } from "../templates/templates.ts";

const MODE = "auto-management/bitfusion";
const LABEL = "bitfusion.io/inject=enabled";

/** A container that requests a GPU as charts do. */
const gpuContainer = {
  name: "main",
  command: ["printenv", "BITFUSION_GPUS"],
  resources: { limits: { "nvidia.com/gpu": 1 } },
};

scenario.concurrent("the label of a namespace attaches the pods in it that request GPUs", async (namespace) => {
  await kubectl("label", "namespace", namespace, LABEL);
  const chart = pod({ namespace, name: "chart", containers: [gpuContainer, { name: "exporter", command: ["true"] }] });
  chart.metadata.annotations = { "bitfusion.io/gpu-percent": "20" };
  await apply(chart);
  await apply(pod({ namespace, name: "plain", containers: [{ name: "main", command: ["true"] }] }));
  await waitForSuccess(namespace, "chart");
  const leases = await leasesOf(namespace, "chart");
  expect(leases.map(({ owner, gpus }) => [owner.container, gpus.map(({ units }) => units)])).toEqual([["main", [20]]]);
  const { metadata, spec } = await get<PodManifest>("pod", "chart", "-n", namespace);
  expect(metadata.annotations?.[MODE]).toBe("yes");
  expect(spec.containers[0]?.resources?.limits).toEqual({ "bitfusion.io/gpu": "20" });
  await waitForSuccess(namespace, "plain");
  expect((await get<PodManifest>("pod", "plain", "-n", namespace)).metadata.annotations?.[MODE]).toBeUndefined();
});

scenario.concurrent("a pod in a labelled namespace decides by its own annotation", async (namespace) => {
  await kubectl("label", "namespace", namespace, LABEL);
  const initContainers = [{ ...gpuContainer, name: "warm-up" }];
  const containers = [{ name: "main", command: ["true"] }];
  for (const mode of ["None", "injection"]) {
    const name = mode.toLowerCase();
    await apply(pod({ namespace, name, mode, initContainers, containers }));
    const { metadata, spec } = await get<PodManifest>("pod", name, "-n", namespace);
    expect(metadata.annotations?.[MODE]).toBe(mode);
    const warmUp = spec.initContainers?.find((container) => container.name === "warm-up");
    expect(Object.keys(warmUp?.resources?.limits ?? {})).toEqual([
      mode === "None" ? "nvidia.com/gpu" : "bitfusion.io/gpu",
    ]);
    expect(warmUp?.command).toEqual(gpuContainer.command);
  }
});

scenario("pods as other projects create them are admitted in a labelled namespace", async (namespace) => {
  await kubectl("label", "namespace", namespace, LABEL);
  const templates = await readTemplates();
  const accounts = new Set(templates.flatMap(({ pod }) => (pod.spec.serviceAccountName as string | undefined) ?? []));
  await Promise.all([...accounts].map((account) => kubectl("create", "serviceaccount", account, "-n", namespace)));
  const create = async (pod: object): Promise<PodManifest> => {
    const options = ["-n", namespace, "--dry-run=server", "-o", "json", "-f", "-"];
    return JSON.parse(await exec(["kubectl", "create", ...options], { stdin: JSON.stringify(pod) }));
  };
  for (const { name, pod } of templates) {
    const created = await create(pod);
    expect(created.metadata.annotations?.[MODE], name).toBe("yes");
    expect(JSON.stringify(created.spec), name).toContain('"bitfusion.io/gpu":"');
  }
});
