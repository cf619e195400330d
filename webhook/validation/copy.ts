import { quote } from "../../program/text/quote.ts";
import type { CopiedClient } from "../clients/catalogue.ts";
import { clientMounts, clientVolumes } from "../injection/copy/client_volumes.ts";
import { runsClient } from "../injection/copy/command.ts";
import { includesLibraryPath } from "../injection/copy/environment.ts";
import { INIT_CONTAINER, isInitContainer } from "../injection/copy/init_container.ts";
import type { Mode } from "../pod/mode.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { checkParts } from "./client_parts.ts";
import { notInjected } from "./not_injected.ts";

/**
 * Checks a pod with a client whose files an init container copies.
 *
 * @throws {Refusal} names what is missing.
 */
export function checkCopy(pod: Pod, gpuContainers: readonly Container[], mode: Mode, client: CopiedClient): void {
  const { initContainers = [] } = pod.spec;
  checkParts(pod, gpuContainers, {
    name: INIT_CONTAINER,
    position: initContainers.findIndex((container) => isInitContainer(container, client)),
    volumes: clientVolumes(client),
    mounts: clientMounts(client),
  });
  const { binary, libraryPath } = client;
  for (const { name, command = [], env } of gpuContainers) {
    if (libraryPath !== undefined && !includesLibraryPath(env, libraryPath)) {
      throw notInjected(`Container ${quote(name)} has no ${libraryPath} in LD_LIBRARY_PATH`);
    }
    if (mode === "full" && binary && !runsClient(command, binary)) {
      throw notInjected(`Container ${quote(name)} does not run ${binary}`);
    }
  }
}
