import { parseQuantity } from "../../../kubernetes/formats/quantity.ts";
import { containsFields } from "../../../kubernetes/objects/contains_fields.ts";
import type { CopiedClient } from "../../clients/catalogue.ts";
import { memoize } from "../../fast/memoize.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import { containersOf, type Pod } from "../../pod/pod.ts";
import { RESTRICTED } from "../security_context.ts";
import { initVolumeMounts } from "./client_volumes.ts";

/** Name of the init container that the webhook injects. */
export const INIT_CONTAINER = "bitfusion-client";

/** Its names: pods that an earlier version of the webhook injected have the second. */
const NAMES: readonly unknown[] = [INIT_CONTAINER, "populate"];

/** The init container that fills the client's volumes from the client's image. */
export const initContainer = memoize((client: CopiedClient): JsonObject => {
  const { image, populate } = client;
  return {
    name: INIT_CONTAINER,
    image,
    command: populate,
    securityContext: RESTRICTED,
    terminationMessagePolicy: "FallbackToLogsOnError", // `kubectl describe` then shows what is wrong with a token
    volumeMounts: initVolumeMounts(client),
  };
});

/**
 * Whether a container is the injected one: by its command and mounts, since users may give a container one of its names. Others may have
 * changed its image (a mirror), its resources (a LimitRange), or added mounts.
 */
export function isInitContainer(container: JsonObject, client: CopiedClient): boolean {
  const mounts = Array.isArray(container.volumeMounts) ? container.volumeMounts : [];
  return (
    NAMES.includes(container.name) &&
    containsFields(container.command, client.populate) &&
    initVolumeMounts(client).every((mount) => mounts.some((each) => containsFields(each, mount)))
  );
}

type Quantity = string | number;

/** What LimitRanges and quotas can require of every container. */
const RESOURCES = ["cpu", "memory", "ephemeral-storage"] as const;

/**
 * The resources of the init container: the largest request and the largest limit of the pod's own containers. A pod that obeys the
 * LimitRanges and quotas of its namespace thus still does, it keeps its QoS class, and it requests no more than before, since the init
 * container has ended when the others start. A copy needs little: 16 MiB of memory and a twentieth of a CPU suffice.
 */
export function initContainerResources(pod: Pod): { requests: JsonObject; limits: JsonObject } {
  const own = containersOf(pod).map(({ resources }) => resources ?? {});
  const requests: Record<string, Quantity> = {};
  const limits: Record<string, Quantity> = {};
  for (const name of RESOURCES) {
    // the API server sets a request that is missing to the limit
    const request = largest(own.map((each) => each.requests?.[name] ?? each.limits?.[name]));
    const limit = largest(own.map((each) => each.limits?.[name]));
    if (request) requests[name] = request.quantity;
    // a container with a larger request has no limit, so nothing requires one
    if (limit && request && request.nanos <= limit.nanos) limits[name] = limit.quantity;
  }
  return { requests, limits };
}

function largest(quantities: readonly (Quantity | undefined)[]) {
  let result: { readonly quantity: Quantity; readonly nanos: bigint } | undefined;
  for (const quantity of quantities) {
    const nanos = quantity === undefined ? undefined : parse(quantity);
    if (quantity !== undefined && nanos !== undefined && nanos > (result?.nanos ?? -1n)) result = { quantity, nanos };
  }
  return result;
}

function parse(quantity: Quantity): bigint | undefined {
  try {
    return parseQuantity(quantity);
  } catch {
    return undefined; // the API server refuses the pod
  }
}
