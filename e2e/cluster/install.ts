import { exec } from "../steps/exec.ts";
import { CREATE_SECRET, INSTALL, ROLLOUT } from "./commands.ts";

/** Installs everything as README describes, and waits until it is ready. @throws {ExecError} if a command fails. */
export async function install(kubeconfig: string, signal: AbortSignal): Promise<void> {
  for (const command of [INSTALL, CREATE_SECRET, ...ROLLOUT]) {
    await exec(command.split(" "), { env: { KUBECONFIG: kubeconfig }, signal });
  }
}
