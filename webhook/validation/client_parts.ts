import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import { quote } from "../../program/text/quote.ts";
import type { ClientMount } from "../injection/attachment.ts";
import { refuseMountCollisions } from "../injection/mount_collisions.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { notInjected } from "./not_injected.ts";

/** What a client adds to a pod, in each way of attaching it. */
export interface ClientParts {
  /** Name of the client's own container. */
  readonly name: string;
  /** Its position among the init containers; negative if there is none. */
  readonly position: number;
  readonly volumes: readonly JsonObject[];
  readonly mounts: readonly ClientMount[];
}

/**
 * Checks that a pod still has what the webhook has added for the client.
 *
 * @throws {Refusal} names what is missing.
 */
export function checkParts(
  pod: Pod,
  gpuContainers: readonly Container[],
  { name, position, volumes, mounts }: ClientParts,
): void {
  if (position < 0) throw notInjected(`Init container "${name}" is missing or changed`);
  // Other webhooks may put containers in front, such as the sidecar of a mesh, unless these use the client.
  const tooEarly = pod.spec.initContainers?.slice(0, position).find((container) => gpuContainers.includes(container));
  if (tooEarly) throw notInjected(`Init container ${quote(tooEarly.name)} runs before "${name}"`);
  for (const volume of volumes) {
    if (!pod.spec.volumes?.some((each) => containsFields(each, volume))) {
      throw notInjected(`Volume "${volume.name}" is missing or changed`);
    }
  }
  for (const container of gpuContainers) {
    for (const { mount } of mounts) {
      if (!container.volumeMounts?.some((each) => containsFields(each, mount))) {
        throw notInjected(`Container ${quote(container.name)} has no mount at ${mount.mountPath}`);
      }
    }
    refuseMountCollisions(pod, container, mounts); // other webhooks may have added mounts
  }
}
