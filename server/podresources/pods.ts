import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  ContainerDevicesSchema,
  ContainerResourcesSchema,
  PodResourcesSchema,
} from "../../proto/gen/podresources/v1/api_pb.ts";
import type { Lease } from "../leases/ledger.ts";

/** The resource of NVIDIA's device plugin. Programs that look for GPUs by their UUIDs look for this one. */
const RESOURCE = "nvidia.com/gpu";

/**
 * The pods that hold leases, with the GPUs of each container. A lease that several containers use is shown for each. Pods that share a GPU
 * all have it, under its plain id. Leases without a pod are left out. Pods of different clusters may have the same name.
 */
export function podsOf(
  leases: readonly Pick<Lease, "holder" | "owner" | "gpus">[],
): MessageInitShape<typeof PodResourcesSchema>[] {
  const owned = leases.filter(({ owner }) => owner.namespace !== "" && owner.pod !== "");
  const pods = Map.groupBy(owned, ({ holder, owner }) => JSON.stringify([holder.client, owner.namespace, owner.pod]));
  return Array.from(pods.values(), (held) => {
    const [{ owner }] = held as [(typeof held)[number]];
    return { namespace: owner.namespace, name: owner.pod, containers: containersOf(held) };
  });
}

function containersOf(
  leases: readonly Pick<Lease, "owner" | "gpus">[],
): MessageInitShape<typeof ContainerResourcesSchema>[] {
  const gpus = new Map<string, Set<string>>();
  for (const { owner, gpus: shares } of leases) {
    for (const name of owner.container.split(" ")) {
      const ids = gpus.getOrInsertComputed(name, () => new Set());
      for (const { gpuId } of shares) ids.add(gpuId);
    }
  }
  return Array.from(gpus, ([name, ids]) => ({ name, devices: [devicesOf(ids)] }));
}

/** GPUs with these ids. */
export function devicesOf(ids: Iterable<string>): MessageInitShape<typeof ContainerDevicesSchema> {
  return { resourceName: RESOURCE, deviceIds: [...ids] };
}
