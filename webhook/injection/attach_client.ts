import type { Allocation } from "../../pool/allocation/allocation.ts";
import type { Share } from "../../pool/share.ts";
import type { ClientDefinition } from "../clients/catalogue.ts";
import type { Mode } from "../pod/mode.ts";
import type { Container } from "../pod/pod.ts";
import { clientVolumeMounts } from "./client_volumes.ts";
import { missingFrom } from "./collisions.ts";
import { wrapCommand } from "./command.ts";
import { clientVariables, hasLibraryPath, withLibraryPath } from "./environment.ts";
import type { PatchBuilder } from "./patch_builder.ts";

/** A container that requests a share. */
export interface GpuContainer {
  readonly container: Container;
  /** JSON pointer of the container in the pod. */
  readonly path: string;
  readonly share: Share;
}

/** How a client is attached to the GPU containers of a pod. */
export interface ClientInjection {
  readonly client: ClientDefinition;
  readonly mode: Mode;
  readonly allocation: Allocation;
  /** Filters in the form key=value. */
  readonly filters: readonly string[];
}

/**
 * Attaches the client to a container: its command, environment and volume mounts.
 *
 * @throws {Refusal} if the client cannot be attached.
 */
export function attachClient(patch: PatchBuilder, gpuContainer: GpuContainer, injection: ClientInjection): void {
  const { container, path } = gpuContainer;
  patch.set(`${path}/command`, container.command, commandOf(gpuContainer, injection));
  addVariables(patch, gpuContainer, injection);
  patch.append(`${path}/volumeMounts`, container.volumeMounts, clientVolumeMounts(injection.client));
}

/** The command of a container once the client is attached. */
function commandOf(
  { container, share }: GpuContainer,
  { mode, client: { binary }, filters }: ClientInjection,
): Container["command"] {
  return mode === "full" && binary ? wrapCommand(container, { binary, share, filters }) : container.command;
}

function addVariables(
  patch: PatchBuilder,
  { container: { name, env }, path }: GpuContainer,
  { client, allocation }: ClientInjection,
): void {
  const { libraryPath } = client;
  const added = missingFrom(env, clientVariables(name, client, allocation), "Variable");
  if (libraryPath === undefined) {
    patch.append(`${path}/env`, env, added);
  } else if (env && hasLibraryPath(env)) {
    patch.set(`${path}/env`, env, withLibraryPath([...env, ...added], libraryPath));
  } else {
    patch.append(`${path}/env`, env, withLibraryPath(added, libraryPath));
  }
}
