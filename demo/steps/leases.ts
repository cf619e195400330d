import { isDeepStrictEqual } from "node:util";
import type { DeviceAllocation } from "../../kubernetes/objects/resource_claim.ts";
import { deviceName } from "../../pool/device_name.ts";
import { show, table } from "../print.ts";
import { waitFor } from "../wait_for.ts";
import type { Demo } from "./demo.ts";
import { currentPod, devicesOf } from "./pods.ts";

/** A lease of one GPU, as a row: server, owner, units, GPU. */
type LeaseRow = readonly [server: string, owner: string, units: string, gpu: string];

/**
 * Waits until the pool's leases are exactly those of these pods: the units and GPUs that the scheduler has allocated.
 * Prints the leases.
 */
export async function showLeases(demo: Demo, pods: readonly string[]): Promise<void> {
  const expected = await allocatedRows(demo, pods);
  let actual: LeaseRow[] = [];
  const areEqual = async () => {
    actual = await leaseRows(demo);
    return isDeepStrictEqual(actual, expected) || undefined;
  };
  await waitFor(`the leases of ${pods.join(", ") || "no pod"}`, areEqual, demo.signal).catch((error) => {
    throw new Error(`${error.message}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  });
  if (pods.length === 0) show("The pool has no leases.");
  else
    table(
      ["POOL SERVER", "LEASE OF", "UNITS", "GPU"],
      actual.map((row) => [...row]),
    );
}

/** The leases that the servers report, in the order of their owners. */
async function leaseRows({ servers }: Demo): Promise<LeaseRow[]> {
  const rows: LeaseRow[] = [];
  for (const server of servers) {
    for (const { owner, gpus } of await server.leases()) {
      const holder = `${owner.namespace}/${owner.pod}/${owner.container}`;
      for (const { gpuId, units } of gpus) rows.push([server.name, holder, String(units), gpuId]);
    }
  }
  return rows.sort(byOwner);
}

/** The leases that pods should hold. */
async function allocatedRows(demo: Demo, pods: readonly string[]): Promise<LeaseRow[]> {
  const gpus = await findGpus(demo);
  const rows = pods.flatMap((name) => {
    const pod = currentPod(demo, name);
    const owner = [pod.metadata.namespace, name, pod.spec.containers[0]?.name].join("/");
    return devicesOf(demo, pod).map(({ device, consumedCapacity }): LeaseRow => {
      const { server = "", id = "" } = gpus.get(device) ?? {};
      return [server, owner, consumedCapacity?.units ?? "", id];
    });
  });
  return rows.sort(byOwner);
}

function byOwner([, a]: LeaseRow, [, b]: LeaseRow): number {
  return a < b ? -1 : 1;
}

/** The id of the GPU of an allocated device. */
export async function gpuIdOf(demo: Demo, { device }: DeviceAllocation): Promise<string> {
  return (await findGpus(demo)).get(device)?.id ?? device;
}

/** Server and id of each GPU, by the name of its device. */
async function findGpus({ servers }: Demo): Promise<Map<string, { server: string; id: string }>> {
  const gpus = new Map<string, { server: string; id: string }>();
  for (const { name: server, gpus: list } of servers) {
    for (const { id } of await list()) gpus.set(deviceName(id), { server, id });
  }
  return gpus;
}
