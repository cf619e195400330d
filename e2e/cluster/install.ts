import { exec } from "../steps/exec.ts";
import { INSTALL, MAKE_SECRET, ROLLOUT } from "./commands.ts";

/** Installs as README says, and waits until all of it is ready. */
export async function install(kubeconfig: string, signal: AbortSignal): Promise<void> {
  for (const command of [INSTALL, MAKE_SECRET, ...ROLLOUT]) {
    await exec(command.split(" "), { env: { KUBECONFIG: kubeconfig }, signal });
  }
}
