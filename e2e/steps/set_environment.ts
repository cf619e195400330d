import { get, kubectl, until } from "./kubectl.ts";

const NAMESPACE = ["-n", "bitfusion-system"];

/** Sets or removes a variable of a Deployment, and waits until no pod of before is left: it answers until it is gone. */
export async function setEnvironment(deployment: string, setting: string): Promise<void> {
  await kubectl("set", "env", ...NAMESPACE, `deployment/${deployment}`, setting);
  await kubectl("rollout", "status", ...NAMESPACE, `deployment/${deployment}`, "--timeout=120s");
  await until(`the pods of before of ${deployment} to be gone`, async () => {
    const { spec } = await get<{ spec: { replicas: number } }>("deployment", deployment, ...NAMESPACE);
    const label = `app.kubernetes.io/name=${deployment}`;
    const { items } = await get<{ items: unknown[] }>("pods", ...NAMESPACE, "-l", label);
    return items.length === spec.replicas;
  });
}
