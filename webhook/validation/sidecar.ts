import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import { quote } from "../../program/text/quote.ts";
import { readPodClaims } from "../claims/pod_claims.ts";
import type { SidecarClient } from "../clients/catalogue.ts";
import { refuseHostNetwork } from "../injection/sidecar/attach_sidecar.ts";
import {
  CLIENT_MOUNTS,
  clientVariables,
  clientVolumes,
  PRELOAD_ANNOTATION,
  preloadedBy,
} from "../injection/sidecar/client_files.ts";
import { FORWARD_CONTAINER, forwardCommand, isForward, portsOf } from "../injection/sidecar/forward_container.ts";
import { declaredPorts, type Ports } from "../injection/sidecar/ports.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { checkParts } from "./client_parts.ts";
import { notInjected } from "./not_injected.ts";

/**
 * Checks a pod with a client that is attached by sidecar.
 *
 * @throws {Refusal} names what is missing.
 */
export function checkSidecar(pod: Pod, gpuContainers: readonly Container[], client: SidecarClient): void {
  refuseHostNetwork(pod, client);
  const { initContainers = [] } = pod.spec;
  const position = initContainers.findIndex(isForward);
  const volumes = clientVolumes(client);
  checkParts(pod, gpuContainers, { name: FORWARD_CONTAINER, position, volumes, mounts: CLIENT_MOUNTS });
  const sidecar = initContainers[position] as Container; // checkParts() refuses a pod without it
  const ports = portsOf(sidecar);
  checkForward(sidecar, ports);
  checkClaims(pod, sidecar);
  refuseDeclaredPorts(pod, ports);
  const preloaded = preloadedBy(client);
  if (pod.metadata.annotations?.[PRELOAD_ANNOTATION] !== preloaded) {
    throw notInjected(`Annotation ${PRELOAD_ANNOTATION} is not ${quote(preloaded)}`);
  }
  for (const container of gpuContainers) checkContainer(container, ports.get(container.name), client);
}

function checkForward(sidecar: Container, ports: Ports): void {
  if (sidecar.restartPolicy !== "Always") {
    throw new Refusal(
      "injection",
      `Init container "${FORWARD_CONTAINER}" has no restartPolicy "Always", so the containers after it would never start: update the webhook that has removed it, which does not know the sidecars of Kubernetes 1.28 and later`,
    );
  }
  const { command, startupProbe } = forwardCommand(ports);
  // the times of the probe may be those of another version
  if (!containsFields(sidecar, { command, startupProbe: { exec: startupProbe.exec } })) {
    throw notInjected(`Init container "${FORWARD_CONTAINER}" is missing or changed`);
  }
}

/** The driver gives the sidecar what proves the leases of the claims that it names. */
function checkClaims(pod: Pod, { resources }: Container): void {
  const names = new Set(readPodClaims(pod).map(({ name }) => name));
  for (const { name, resourceClaimName = "" } of pod.spec.resourceClaims ?? []) {
    if (!names.has(resourceClaimName) || resources?.claims?.some((each) => each.name === name)) continue;
    throw notInjected(`Init container "${FORWARD_CONTAINER}" lacks the resource claim ${quote(name)}`);
  }
}

/** Another webhook may have added a container that declares a port of the sidecar. */
function refuseDeclaredPorts(pod: Pod, ports: Ports): void {
  const declared = declaredPorts(pod);
  const taken = [...ports.values()].find((port) => declared.has(port));
  if (taken === undefined) return;
  throw new Refusal(
    "collision",
    `A container has the port ${taken}, where the sidecar "${FORWARD_CONTAINER}" listens: expected another port`,
  );
}

function checkContainer({ name, env }: Container, port: number | undefined, client: SidecarClient): void {
  if (port === undefined) throw notInjected(`Init container "${FORWARD_CONTAINER}" has no port for ${quote(name)}`);
  for (const variable of clientVariables(client, name, port)) {
    if (
      !containsFields(
        env?.findLast((each) => each.name === variable.name),
        variable,
      )
    ) {
      throw notInjected(`Container ${quote(name)} has another value of ${variable.name}, or none`);
    }
  }
}
