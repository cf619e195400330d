import { claimsOfPod, type Pod } from "../../kubernetes/objects/pod.ts";
import { claimPath, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { difference, explain, heading, show, toYaml } from "../print.ts";
import { waitFor } from "../wait_for.ts";
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
  await showClaims(demo, pod);
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

/** Shows the claims that the controller creates for the pod. */
async function showClaims({ store, signal }: Demo, pod: Pod): Promise<void> {
  explain(
    "The units bitfusion.io/gpu are for ResourceQuota. The pod gets its GPU by a claim. The controller creates it, as the annotation tells:",
  );
  for (const name of claimsOfPod(pod).values()) {
    const path = claimPath(pod.metadata.namespace, name);
    const { metadata, spec } = await waitFor(`claim ${name}`, () => store.get<ResourceClaim>(path), signal);
    const { namespace, annotations, ownerReferences } = metadata;
    show(
      toYaml({ kind: "ResourceClaim", metadata: { name, namespace, annotations, ownerReferences }, spec }, [
        "capacity",
      ]),
    );
  }
}
