import type { SidecarClient } from "../../clients/catalogue.ts";
import type { Container, Pod } from "../../pod/pod.ts";
import { Refusal } from "../../pod/refusal.ts";
import type { Attachment, GpuContainer } from "../attachment.ts";
import { withClaims } from "../claims.ts";
import { missingFrom, refuseContainerName } from "../collisions.ts";
import type { PatchBuilder } from "../patch_builder.ts";
import { CLIENT_MOUNTS, clientVariables, clientVolumes, PRELOAD_ANNOTATION, preloadedBy } from "./client_files.ts";
import { FORWARD_CONTAINER, forwardCommand, forwardContainer, isForward, portsOf } from "./forward_container.ts";
import { forwardResources } from "./forward_resources.ts";
import { assignPorts, type Ports } from "./ports.ts";

export interface SidecarOptions {
  readonly client: SidecarClient;
  /** Names of the claims in the pod that the GPU containers use. */
  readonly claims: readonly string[];
}

/**
 * Attaches a client by a sidecar that carries the connections of all GPU containers to the pool servers. Command, arguments and entrypoint
 * of the containers stay as they are.
 *
 * @throws {Refusal} if the pod has the network of its node.
 */
export function attachBySidecar(
  pod: Pod,
  gpuContainers: readonly GpuContainer[],
  { client, claims }: SidecarOptions,
): Attachment {
  refuseHostNetwork(pod, client);
  const list = pod.spec.initContainers;
  const isUsers = (container: Container) => gpuContainers.some((each) => each.container === container);
  const position = list?.findIndex((container) => isForward(container) && !isUsers(container)) ?? -1;
  const existing = list?.[position];
  const names = gpuContainers.map(({ container }) => container.name);
  const ports = assignPorts(pod, names, existing ? portsOf(existing) : new Map());
  return {
    volumes: clientVolumes(client),
    mounts: CLIENT_MOUNTS,
    annotations: { [PRELOAD_ANNOTATION]: preloadedBy(client) },
    needs: { tokens: false },
    warnings: [],
    attachTo(patch, { container: { name, env }, path }) {
      const variables = clientVariables(client, name, ports.get(name) ?? 0);
      patch.append(`${path}/env`, env, missingFrom(env, variables, "Variable"));
    },
    addContainer(patch) {
      if (existing) {
        extend(patch, `/spec/initContainers/${position}`, existing, { ports, claims });
      } else {
        refuseContainerName(pod, FORWARD_CONTAINER);
        const resources = { ...forwardResources(pod), claims: claims.map((name) => ({ name })) };
        patch.prepend("/spec/initContainers", list, { ...forwardContainer(client, ports), resources });
      }
    },
  };
}

/**
 * Refuses a pod with the network of its node: its port at 127.0.0.1 would be open to all of the node.
 *
 * @throws {Refusal}
 */
export function refuseHostNetwork({ spec: { hostNetwork } }: Pod, { name }: SidecarClient): void {
  if (!hostNetwork) return;
  throw new Refusal(
    "client",
    `spec.hostNetwork is true, but the client ${name} is attached by a sidecar at 127.0.0.1, which would be open to the whole node: expected false`,
  );
}

/** Adds GPU containers to the sidecar, which has others already. */
function extend(
  patch: PatchBuilder,
  path: string,
  sidecar: Container,
  { ports, claims }: { ports: Ports; claims: readonly string[] },
): void {
  const { command, startupProbe } = forwardCommand(ports);
  patch.set(`${path}/command`, sidecar.command, command);
  patch.set(`${path}/startupProbe`, sidecar.startupProbe, startupProbe);
  const resources = { ...sidecar.resources, claims: withClaims(sidecar, claims) };
  patch.set(`${path}/resources`, sidecar.resources, resources);
}
