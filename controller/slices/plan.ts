import type { Device, ResourceSlice } from "../../kubernetes/resource_slice.ts";
import { addressAttributes, deviceName } from "../../pool/device.ts";
import type { Inventory } from "../../pool/inventory.ts";
import { type HeldUnits, heldKey, splitHeldKey } from "../claims/claims.ts";
import { attributesOfDevice, deviceOf, withTaint } from "./device.ts";
import { type DesiredSlice, isAsDesired, MOST_DEVICES, poolIndex, sliceIndex, sliceName } from "./slice.ts";
import { evictionTime, type TaintOptions, taintOf } from "./taint.ts";

export interface PoolState {
  readonly inventory: Inventory;
  /** All slices of the driver. */
  readonly slices: readonly ResourceSlice[];
  readonly held: HeldUnits;
}

/** What is to be written so that the scheduler knows the pool as it is. */
export interface Plan {
  /** To be done first: what they have may be in another slice afterwards. */
  readonly removals: readonly ResourceSlice[];
  readonly changes: readonly { readonly desired: DesiredSlice; readonly current: ResourceSlice }[];
  readonly creations: readonly DesiredSlice[];
  /** Ids of GPUs that have the name of another: they are left out. */
  readonly collisions: readonly string[];
  /** When a taint has to change though nothing else does, in ms since the epoch. */
  readonly lookAgain: number | undefined;
}

/**
 * Where each GPU of the pool is to be, and how. One that has a slice stays there: claims know it by its pool and name. What a server that
 * has not been heard of yet had is kept, and what the pool has no longer is kept as long as a claim holds it.
 */
export function planSlices({ inventory, slices, held }: PoolState, options: TaintOptions): Plan {
  const { told, collisions } = toldDevices(inventory, options);
  const current = new Map<number, ResourceSlice>();
  for (const slice of slices) {
    const index = sliceIndex(slice);
    if (index !== undefined) current.set(index, slice);
  }
  const desired = new Map<number, Device[]>();
  const seen = new Set<string>();
  for (const [index, { metadata, spec }] of [...current].sort(([a], [b]) => a - b)) {
    const devices = spec.devices ?? [];
    desired.set(
      index,
      devices.flatMap((before) => {
        if (seen.has(before.name)) return []; // a second one would double its units
        seen.add(before.name);
        const isHeld = held.has(heldKey(metadata.name, before.name));
        return told.get(before.name)?.(before) ?? untoldDevice(before, { isHeld, inventory, options }) ?? [];
      }),
    );
  }
  const place = createPlacement(desired, held);
  for (const [name, make] of told) if (!seen.has(name)) place(make(undefined));
  return { ...difference(slices, current, desired), collisions, lookAgain: nextEviction(desired, options) };
}

/** How a GPU is to be, given how it was. */
type MakeDevice = (before: Device | undefined) => Device;

function toldDevices({ servers }: Inventory, options: TaintOptions) {
  const told = new Map<string, MakeDevice>();
  const collisions: string[] = [];
  for (const server of servers) {
    for (const gpu of server.gpus ?? []) {
      const name = deviceName(gpu.id);
      if (told.has(name)) {
        collisions.push(gpu.id);
        continue;
      }
      const health = gpu.healthy ? undefined : "unhealthy";
      const trouble = server.reachable ? health : "unreachable";
      told.set(name, (before) => deviceOf(server, gpu, trouble && taintOf(trouble, before, options)));
    }
  }
  return { told, collisions };
}

/** A GPU that no server has told of; undefined if it may go. */
function untoldDevice(
  before: Device,
  { isHeld, inventory, options }: { isHeld: boolean; inventory: Inventory; options: TaintOptions },
): Device | undefined {
  const { server: address } = attributesOfDevice(before);
  const isUnheard = inventory.servers.some(
    (server) => server.gpus === undefined && addressAttributes(server.address).server === address,
  );
  if (isUnheard) return withTaint(before, taintOf("unreachable", before, options));
  return isHeld ? withTaint(before, taintOf("gone", before, options)) : undefined;
}

/** Puts a GPU where claims that hold it know it, should its slice have been lost, or else into the first slice with room. */
function createPlacement(desired: Map<number, Device[]>, held: HeldUnits): (device: Device) => void {
  const known = new Map(
    [...held.keys()].flatMap((key) => {
      const { pool, device } = splitHeldKey(key);
      const index = poolIndex(pool);
      return index === undefined ? [] : [[device, index] as const];
    }),
  );
  const hasRoom = (index: number) => (desired.get(index)?.length ?? 0) < MOST_DEVICES;
  return (device) => {
    let index = known.get(device.name) ?? 0;
    if (!hasRoom(index)) for (index = 0; !hasRoom(index); ) index += 1;
    desired.set(index, [...(desired.get(index) ?? []), device]);
  };
}

function difference(
  slices: readonly ResourceSlice[],
  current: ReadonlyMap<number, ResourceSlice>,
  desired: ReadonlyMap<number, readonly Device[]>,
): Pick<Plan, "removals" | "changes" | "creations"> {
  const ours = new Set(current.values());
  const removals = slices.filter((slice) => !ours.has(slice));
  const changes: { desired: DesiredSlice; current: ResourceSlice }[] = [];
  const creations: DesiredSlice[] = [];
  for (const [index, devices] of desired) {
    const wanted = { name: sliceName(index), devices };
    const slice = current.get(index);
    if (!slice) creations.push(wanted);
    else if (devices.length === 0) removals.push(slice);
    else if (!isAsDesired(slice, wanted)) changes.push({ desired: wanted, current: slice });
  }
  return { removals, changes, creations };
}

function nextEviction(desired: ReadonlyMap<number, readonly Device[]>, options: TaintOptions): number | undefined {
  const times = [...desired.values()]
    .flat()
    .flatMap(({ taints = [] }) => taints)
    .flatMap((taint) => evictionTime(taint, options) ?? []);
  return times.length > 0 ? Math.min(...times) : undefined;
}
