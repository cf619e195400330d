import { waitForRollout } from "./installation.ts";
import { kubectl } from "./kubectl.ts";

const NAMESPACE = "bitfusion-system";

/** Sets or removes a variable of a Deployment. Waits until its old pods are removed: they respond until then. */
export async function setEnvironment(deployment: string, setting: string): Promise<void> {
  await kubectl("set", "env", "-n", NAMESPACE, `deployment/${deployment}`, setting);
  await waitForRollout(`deployment/${deployment}`, NAMESPACE);
}
