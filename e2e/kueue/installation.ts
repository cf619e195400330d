import { join } from "node:path";
import { parse, stringify } from "yaml";
import { exec } from "../steps/exec.ts";
import { CLUSTER, kubectl, WORKERS } from "../steps/kubectl.ts";
import { type Manifest, renderManifests } from "../steps/manifests.ts";
import { buildKueueImage, downloadKueue, KUEUE_IMAGE } from "./image.ts";

const CONFIGURATION = "controller_manager_config.yaml";

/**
 * Installs Kueue as its release does, with more fields in its configuration. Disposal removes it: its webhooks, which fail closed, must not
 * stay in the way of other tests. Remove all queues first.
 */
export async function installKueue(configuration: object): Promise<AsyncDisposable> {
  const module = await downloadKueue();
  await buildKueueImage(module);
  await exec(["kind", "load", "docker-image", "--name", CLUSTER, `--nodes=${WORKERS.join(",")}`, KUEUE_IMAGE]);
  const manifests = await renderManifests(join(module, "config/default"));
  const stdin = JSON.stringify({
    apiVersion: "v1",
    kind: "List",
    items: manifests.map((manifest) => adapted(manifest, configuration)),
  });
  const installation = {
    async [Symbol.asyncDispose]() {
      await exec(["kubectl", "delete", "--ignore-not-found", "--timeout=120s", "-f", "-"], { stdin });
    },
  };
  try {
    await exec(["kubectl", "apply", "--server-side", "-f", "-"], { stdin });
    // ready once its webhooks have their certificates
    await kubectl("rollout", "status", "-n", "kueue-system", "deployment/kueue-controller-manager", "--timeout=180s");
  } catch (error) {
    await installation[Symbol.asyncDispose]();
    throw error;
  }
  return installation;
}

/** A manifest of Kueue with the image of this machine, and with more fields in the configuration. */
function adapted(manifest: Manifest, configuration: object): Manifest {
  const changed = structuredClone(manifest);
  if (manifest.kind === "Deployment") {
    Object.assign(changed.spec.template.spec.containers[0], { image: KUEUE_IMAGE, imagePullPolicy: "Never" });
  }
  if (manifest.kind === "ConfigMap") {
    changed.data[CONFIGURATION] = stringify({ ...parse(manifest.data[CONFIGURATION]), ...configuration });
  }
  return changed;
}
