import { type Program, startProgram } from "../../program/processes/child_program.ts";
import type { ProgramOptions } from "./options.ts";

/** Starts the controller in a process of its own. It checks the pool servers twice a second. */
export function startController({ kubeconfig, servers }: ProgramOptions): Program {
  const environment = { KUBECONFIG: kubeconfig, POOL_SERVERS: servers.join(","), INTERVAL: "0.5" };
  return startProgram("controller/main.ts", { environment, ready: "Leading" });
}
