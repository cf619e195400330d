import type { Pod } from "../../kubernetes/objects/pod.ts";
import { difference, explain, heading, show, toYaml } from "../print.ts";
import type { Demo } from "./demo.ts";
import { createPod, readManifest } from "./pods.ts";

/** Creates the first pod, and shows how the webhook changes it. */
export async function showAdmission(number: number, demo: Demo): Promise<void> {
  heading(
    number,
    "kubectl apply -f demo/pod.yaml",
    "The API server (simulated) calls the webhook over TLS, and the webhook patches the pod. Lists are abridged here:",
  );
  const manifest = await readManifest();
  await demo.webhook.waitUntilReady(demo.signal);
  const pod = await createPod(demo, manifest);
  difference(abridge(manifest), abridge(pod));
  showClaimTemplates(demo, pod);
}

/** Formats a pod as YAML. Of what brings the client into the pod, only names and paths are shown. */
function abridge({ metadata: { annotations, name, namespace }, spec }: Pod): string {
  const object = {
    metadata: { annotations, name, namespace },
    spec: {
      initContainers: spec.initContainers?.map(({ name, image, command }) => ({ name, image, command })),
      containers: spec.containers.map(({ env, volumeMounts, ...container }) => ({
        ...container,
        env: env?.map((variable) => variable.name),
        volumeMounts: volumeMounts?.map(({ mountPath }) => mountPath),
      })),
      volumes: spec.volumes?.map((volume) => volume.name),
      resourceClaims: spec.resourceClaims,
    },
  };
  return toYaml(object, ["command", "env", "volumeMounts", "volumes", "requests"]);
}

/** Shows the templates of the pod's claims, which the webhook has created in the pod's namespace. */
function showClaimTemplates({ store }: Demo, { metadata: { namespace }, spec }: Pod): void {
  explain(
    "The units bitfusion.io/gpu are for ResourceQuota. The pod gets its GPU by a claim, made from this template:",
  );
  for (const { resourceClaimTemplateName: name } of spec.resourceClaims ?? []) {
    const path = `/apis/resource.k8s.io/v1/namespaces/${namespace}/resourceclaimtemplates/${name}`;
    const template = store.get<{ spec: { spec: object } }>(path);
    if (!template) throw new Error(`ResourceClaimTemplate ${namespace}/${name} does not exist`);
    show(
      toYaml({ kind: "ResourceClaimTemplate", metadata: { name, namespace }, spec: { spec: template.spec.spec } }, [
        "capacity",
      ]),
    );
  }
}
