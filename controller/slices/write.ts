import { isStatus } from "../../kubernetes/error.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { ObjectChange } from "../../kubernetes/watch.ts";
import type { Plan } from "./plan.ts";
import { type DesiredSlice, toResourceSlice } from "./slice.ts";

/** A write of one slice. It fails if somebody else has changed the slice in the meantime. */
export interface SliceWrite {
  readonly operation: "create" | "update" | "delete";
  /** Name of the slice. */
  readonly name: string;
  /** The slice after the write. Undefined for a removal. */
  readonly desired?: DesiredSlice;
  /** Returns what is stored afterwards. */
  run(request: KubernetesRequest, signal: AbortSignal): Promise<ObjectChange<ResourceSlice>>;
}

/** The writes of a plan, removals first. */
export function writesOf({ removals, updates, creations }: Plan): SliceWrite[] {
  return [
    ...removals.map(removal),
    ...updates.map(({ desired, current }): SliceWrite => {
      const path = `${RESOURCE_SLICES}/${desired.name}`;
      return {
        operation: "update",
        name: desired.name,
        desired,
        run: (request, signal) =>
          store(request(path, { method: "PUT", body: toResourceSlice(desired, current), signal })),
      };
    }),
    ...creations.map(
      (desired): SliceWrite => ({
        operation: "create",
        name: desired.name,
        desired,
        run: (request, signal) =>
          store(request(RESOURCE_SLICES, { method: "POST", body: toResourceSlice(desired), signal })),
      }),
    ),
  ];
}

/** The removal of a slice as it was seen. A slice that was created again has another version, too. */
export function removal({ metadata: { name, resourceVersion } }: ResourceSlice): SliceWrite {
  return {
    operation: "delete",
    name,
    async run(request, signal) {
      const body = { preconditions: { resourceVersion } };
      await request(`${RESOURCE_SLICES}/${name}`, { method: "DELETE", body, signal }).catch((error) => {
        if (!isStatus(error, 404)) throw error;
      });
      return { type: "delete", key: name };
    },
  };
}

async function store(answer: Promise<Response>): Promise<ObjectChange<ResourceSlice>> {
  const object = (await (await answer).json()) as ResourceSlice;
  return { type: "put", key: object.metadata.name, object };
}
