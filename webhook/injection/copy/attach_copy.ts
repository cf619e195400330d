import type { Allocation } from "../../../pool/allocation/allocation.ts";
import { escapeControls } from "../../../program/text/quote.ts";
import type { CopiedClient } from "../../clients/catalogue.ts";
import { ANNOTATIONS } from "../../pod/keys.ts";
import type { Mode } from "../../pod/mode.ts";
import type { Container, Pod } from "../../pod/pod.ts";
import type { Attachment, GpuContainer } from "../attachment.ts";
import { missingFrom, refuseContainerName } from "../collisions.ts";
import type { PatchBuilder } from "../patch_builder.ts";
import { clientMounts, clientVolumes, withEvictableVolumes } from "./client_volumes.ts";
import { wrapCommand } from "./command.ts";
import { clientVariables, hasLibraryPath, withLibraryPath } from "./environment.ts";
import { INIT_CONTAINER, initContainer, initContainerResources, isInitContainer } from "./init_container.ts";

export interface CopyOptions {
  readonly client: CopiedClient;
  readonly mode: Mode;
  readonly allocation: Allocation;
  /** Filters in the form key=value. */
  readonly filters: readonly string[];
}

/** Attaches a client whose files an init container copies into the pod. Commands run under the client. */
export function attachByCopy(pod: Pod, gpuContainers: readonly GpuContainer[], options: CopyOptions): Attachment {
  const { client } = options;
  const { annotations = {} } = pod.metadata;
  return {
    volumes: clientVolumes(client),
    mounts: clientMounts(client),
    annotations: {
      [ANNOTATIONS.evictableVolumes]: withEvictableVolumes(annotations[ANNOTATIONS.evictableVolumes], client),
    },
    needs: { tokens: client.tokens },
    warnings: warningsAbout(gpuContainers, options),
    attachTo(patch, gpuContainer) {
      const { container, path } = gpuContainer;
      patch.set(`${path}/command`, container.command, commandOf(gpuContainer, options));
      addVariables(patch, gpuContainer, options);
    },
    addContainer(patch) {
      const list = pod.spec.initContainers;
      const isUsers = (container: Container) => gpuContainers.some((each) => each.container === container);
      if (list?.some((container) => isInitContainer(container, client) && !isUsers(container))) return;
      refuseContainerName(pod, INIT_CONTAINER);
      const container = { ...initContainer(client), resources: initContainerResources(pod) };
      patch.prepend("/spec/initContainers", list, container);
    },
  };
}

/** The command of a container once the client is attached. */
function commandOf(
  { container, share }: GpuContainer,
  { mode, client: { binary }, filters }: CopyOptions,
): Container["command"] {
  return mode === "full" && binary ? wrapCommand(container, { binary, share, filters }) : container.command;
}

function addVariables(
  patch: PatchBuilder,
  { container: { name, env }, path }: GpuContainer,
  { client, allocation }: CopyOptions,
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

function warningsAbout(gpuContainers: readonly GpuContainer[], { client, filters }: CopyOptions): string[] {
  const { name, binary, libraryPath } = client;
  const warnings: string[] = [];
  const replaced = gpuContainers.filter(({ container }) => !hasLibraryPath(container.env));
  if (libraryPath !== undefined && replaced.length > 0) {
    const containers = escapeControls(replaced.map(({ container }) => container.name).join(", "));
    warnings.push(`LD_LIBRARY_PATH of the image or of envFrom is replaced: to keep it, set it in env of ${containers}`);
  }
  if (filters.length > 0 && binary === undefined) {
    warnings.push(`Annotation ${ANNOTATIONS.filter} has no effect: the client ${name} does not wrap commands`);
  }
  return warnings.map((warning) => warning.slice(0, 120));
}
