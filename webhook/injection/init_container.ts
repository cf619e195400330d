import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import type { ClientDefinition } from "../clients/catalogue.ts";
import { memoize } from "../fast/memoize.ts";
import type { JsonObject } from "../pod/json_object.ts";
import { initVolumeMounts } from "./client_volumes.ts";

/** Name of the init container that the webhook injects. */
export const INIT_CONTAINER = "bitfusion-client";

/** Its names: pods that an earlier version of the webhook injected have the second. */
const NAMES: readonly unknown[] = [INIT_CONTAINER, "populate"];

/** The init container that fills the client's volumes from the client's image. It meets the restricted Pod Security Standard. */
export const initContainer = memoize((client: ClientDefinition): JsonObject => {
  const { image, populate, resources } = client;
  return {
    name: INIT_CONTAINER,
    image,
    command: populate,
    resources,
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 65532, // else the pod's runAsUser would apply
      runAsGroup: 65532,
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError", // `kubectl describe` then shows what is wrong with a token
    volumeMounts: initVolumeMounts(client),
  };
});

/**
 * Whether a container is the injected one: by its command and mounts, since users may give a container one of its names. Others may have
 * changed its image (a mirror), its resources (a LimitRange), or added mounts.
 */
export function isInitContainer(container: JsonObject, client: ClientDefinition): boolean {
  const mounts = Array.isArray(container.volumeMounts) ? container.volumeMounts : [];
  return (
    NAMES.includes(container.name) &&
    containsFields(container.command, client.populate) &&
    initVolumeMounts(client).every((mount) => mounts.some((each) => containsFields(each, mount)))
  );
}
