import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { reconcileClaims } from "../../kubernetes/simulated/controller_manager.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import { createCertificate } from "../../tls/certificate.ts";
import { schedulePods } from "./schedule_pods.ts";

/** The simulated control plane: an API server over TLS, the controller for claims, and the scheduler. */
export interface ControlPlane extends AsyncDisposable {
  readonly store: ObjectStore;
  /** Path of a kubeconfig, for programs. */
  readonly kubeconfig: string;
  /** Runs the controller and the scheduler after each change. Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Folder for the kubeconfig. */
  folder: string;
  /** The only node, to which the scheduler binds all pods. */
  nodeName: string;
}

export async function startControlPlane({ folder, nodeName }: ControlPlaneOptions): Promise<ControlPlane> {
  const { ca, cert, key } = await createCertificate(["localhost"], Date.now());
  const server = startSimulatedApiServer({ tls: { cert, key } });
  const { store } = server;
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(server.url, { ca }), { mode: 0o600 });
  return {
    store,
    kubeconfig,
    async run(signal) {
      for await (const _ of store.version.changes(signal)) {
        reconcileClaims(store);
        schedulePods(store, nodeName);
      }
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
