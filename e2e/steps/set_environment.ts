import { get, kubectl, waitFor } from "./kubectl.ts";

const NAMESPACE = ["-n", "bitfusion-system"];

/** Sets or removes a variable of a Deployment. Waits until its old pods are removed: they respond until then. */
export async function setEnvironment(deployment: string, setting: string): Promise<void> {
  await kubectl("set", "env", ...NAMESPACE, `deployment/${deployment}`, setting);
  await kubectl("rollout", "status", ...NAMESPACE, `deployment/${deployment}`, "--timeout=120s");
  await waitFor(`the old pods of ${deployment} to be removed`, async () => {
    const { spec } = await get<{ spec: { replicas: number } }>("deployment", deployment, ...NAMESPACE);
    const label = `app.kubernetes.io/name=${deployment}`;
    const { items } = await get<{ items: unknown[] }>("pods", ...NAMESPACE, "-l", label);
    return items.length === spec.replicas;
  });
}
