import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import type { Device, DeviceTaint, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { addressAttributes, attributesOfDevice } from "../../pool/attributes.ts";
import { deviceKey, type HeldUnits, splitDeviceKey } from "../../pool/claims/device_key.ts";
import { DRAINING, type Gpu, type Inventory, type PoolServer } from "../../pool/inventory.ts";
import { isInPool } from "../../pool/sources/published_pool.ts";
import { createDevice, withTaint } from "./device.ts";
import { parseSelection } from "./node_selection.ts";
import { type DesiredSlice, isUpToDate, MAX_DEVICES, parseSliceName, sliceIndex, sliceName } from "./slice.ts";
import { evictionTime, type Problem, type TaintOptions, taintFor } from "./taint.ts";

export interface PoolState {
  readonly inventory: Inventory;
  /** All slices of the driver. */
  readonly slices: Iterable<ResourceSlice>;
  readonly held: HeldUnits;
}

/** The writes that make the slices match the pool. Each can fail without harm to the others. */
export interface Plan {
  readonly removals: readonly ResourceSlice[];
  readonly updates: readonly { readonly desired: DesiredSlice; readonly current: ResourceSlice }[];
  readonly creations: readonly DesiredSlice[];
  /** Why GPUs are left out, by id. */
  readonly leftOut: ReadonlyMap<string, string>;
  /** Keys of devices that are published only because a claim holds them. */
  readonly keptForClaims: ReadonlySet<string>;
  /** When the next taint becomes NoExecute, in ms since the epoch. */
  readonly nextEviction: number | undefined;
}

export type SlicePlanner = (state: PoolState, options: TaintOptions) => Plan;

/**
 * Creates a function that decides which slice each GPU is in, and how it looks there:
 *
 * - A published GPU stays in its slice, because claims refer to it by pool and device.
 * - A GPU whose slice was lost returns to the pool that claims know it by. Other new GPUs fill the first slices with room.
 * - A GPU of a server that has not reported yet is kept. A GPU that left the pool is kept while a claim holds it.
 * - If the pool has no server at all, every GPU is kept and tainted.
 * - The first slice tells how many GPUs the whole pool has. A server that has not reported yet counts with its published GPUs.
 * - A GPU that is in a slice which must be removed is published again after the removal, so that it never counts twice.
 *
 * The result depends on the arguments alone. Work on servers and slices that are the same objects as before is not repeated.
 *
 * @param owner of all slices
 */
export function createSlicePlanner(owner?: OwnerReference): SlicePlanner {
  const templatesOf = createTemplateCache();
  const tainted = createTaintCache();
  const matches = createMatchCache();

  return ({ inventory, slices, held }, options) => {
    const leftOut = new Map<string, string>();
    const reported = reportedGpus(inventory.servers, templatesOf, leftOut);
    const silent = silentServers(inventory);
    /** Silent servers without a published GPU: nothing is known of them. */
    const unheard = new Set(silent);
    const { own, foreign } = classify(slices);
    const desired = new Map<number, Device[]>();
    const published = new Set<string>();
    const keptForClaims = new Set<string>();

    /** The device that should take the place of a published one. Undefined if it should be removed. */
    function successor(before: Device, key: string): Device | undefined {
      const gpu = reported.get(before.name);
      if (gpu) return tainted(gpu.template, gpu.problem && taintFor(gpu.problem, before, options));
      const { server = "" } = silent.size > 0 ? attributesOfDevice(before) : {};
      if (silent.has(server)) {
        unheard.delete(server);
        return tainted(before, taintFor({ kind: "unreachable" }, before, options));
      }
      // A pool without any server is a mistake in the settings, not a pool without GPUs.
      if (inventory.servers.length > 0) {
        if (!held.has(key)) return undefined;
        keptForClaims.add(key);
      }
      return tainted(before, taintFor({ kind: "gone" }, before, options));
    }

    for (const [index, { spec }] of own) {
      const devices: Device[] = [];
      for (const before of parseSelection(spec)) {
        if (published.has(before.name)) continue; // a duplicate would double its units
        published.add(before.name);
        const device = successor(before, deviceKey(spec.pool.name, before.name));
        if (device) devices.push(device);
      }
      desired.set(index, devices);
    }

    for (const { spec } of foreign) for (const { name } of spec.devices ?? []) published.add(name);
    const unpublished = [...reported].flatMap(([name, { template, problem }]) =>
      published.has(name) ? [] : [tainted(template, problem && taintFor(problem, undefined, options))],
    );
    if (unpublished.length > 0) place(unpublished, { desired, held, leftOut });

    const isKnown = inventory.servers.length > 0 && unheard.size === 0;
    const poolGpus = isKnown ? countGpus(desired.values()) : undefined;
    return {
      ...compare({ own, desired, foreign, poolGpus, owner }, matches),
      leftOut,
      keptForClaims,
      nextEviction: nextEviction(desired, options),
    };
  };
}

/** A GPU that a server reports. */
interface ReportedGpu {
  /** Its device without taints. */
  readonly template: Device;
  readonly problem: Problem | undefined;
}

function reportedGpus(
  servers: readonly PoolServer[],
  templatesOf: (server: PoolServer) => readonly Device[],
  leftOut: Map<string, string>,
): Map<string, ReportedGpu> {
  const reported = new Map<string, ReportedGpu>();
  for (const server of servers) {
    const templates = templatesOf(server);
    server.gpus?.forEach((gpu, index) => {
      const { id } = gpu;
      const template = templates[index] as Device;
      if (reported.has(template.name)) leftOut.set(id, `Another GPU has the device name ${template.name}`);
      else reported.set(template.name, { template, problem: problemOf(server.reachable, gpu) });
    });
  }
  return reported;
}

function problemOf(reachable: boolean, { healthy, problem }: Gpu): Problem | undefined {
  if (!reachable) return { kind: "unreachable" };
  if (healthy) return undefined;
  return problem === DRAINING ? { kind: "draining" } : { kind: "unhealthy", detail: problem };
}

/** The `server` attribute of servers that have not reported their GPUs yet. */
function silentServers({ servers }: Inventory): ReadonlySet<string> {
  return new Set(servers.flatMap(({ address, gpus }) => (gpus ? [] : [addressAttributes(address).server])));
}

/** The controller's own slices by index, in order, and the slices that it must remove. */
function classify(slices: Iterable<ResourceSlice>) {
  const own: [number, ResourceSlice][] = [];
  const foreign: ResourceSlice[] = [];
  for (const slice of slices) {
    const index = sliceIndex(slice);
    if (index === undefined) foreign.push(slice);
    else own.push([index, slice]);
  }
  return { own: new Map(own.sort(([a], [b]) => a - b)), foreign };
}

/** Adds devices to the slices: devices that claims hold first, to the pools that the claims name, then the others where there is room. */
function place(
  devices: readonly Device[],
  { desired, held, leftOut }: { desired: Map<number, Device[]>; held: HeldUnits; leftOut: Map<string, string> },
): void {
  const heldIn = new Map<string, number>();
  for (const key of held.keys()) {
    const { pool, device } = splitDeviceKey(key);
    const index = parseSliceName(pool);
    if (index !== undefined) heldIn.set(device, index);
  }
  const devicesOf = (index: number) => {
    const list = desired.get(index) ?? [];
    desired.set(index, list);
    return list;
  };
  for (const device of devices) {
    const index = heldIn.get(device.name);
    if (index === undefined) continue;
    if (devicesOf(index).length < MAX_DEVICES) devicesOf(index).push(device);
    // In another pool, its held units would be given away again.
    else
      leftOut.set(attributesOfDevice(device).id ?? device.name, `Claims hold it in ${sliceName(index)}, which is full`);
  }
  let index = 0;
  for (const device of devices) {
    if (heldIn.has(device.name)) continue;
    while ((desired.get(index)?.length ?? 0) >= MAX_DEVICES) index += 1;
    devicesOf(index).push(device);
  }
}

function countGpus(lists: Iterable<readonly Device[]>): number {
  let count = 0;
  for (const devices of lists) for (const device of devices) if (isInPool(device)) count += 1;
  return count;
}

interface Comparison {
  own: ReadonlyMap<number, ResourceSlice>;
  desired: ReadonlyMap<number, readonly Device[]>;
  foreign: readonly ResourceSlice[];
  poolGpus: number | undefined;
  owner: OwnerReference | undefined;
}

function compare(
  { own, desired, foreign, poolGpus, owner }: Comparison,
  matches: (slice: ResourceSlice, desired: DesiredSlice) => boolean,
): Pick<Plan, "removals" | "updates" | "creations"> {
  const removals = [...foreign];
  const updates: { desired: DesiredSlice; current: ResourceSlice }[] = [];
  const creations: DesiredSlice[] = [];
  let untold = poolGpus;
  for (const [index, devices] of [...desired].sort(([a], [b]) => a - b)) {
    const current = own.get(index);
    if (devices.length === 0) {
      if (current) removals.push(current);
      continue;
    }
    const slice: DesiredSlice = { name: sliceName(index), devices, poolGpus: untold, owner };
    untold = undefined;
    if (!current) creations.push(slice);
    else if (!matches(current, slice)) updates.push({ desired: slice, current });
  }
  return { removals, updates, creations };
}

function nextEviction(desired: ReadonlyMap<number, readonly Device[]>, options: TaintOptions): number | undefined {
  let next: number | undefined;
  for (const devices of desired.values()) {
    for (const { taints = [] } of devices) {
      for (const taint of taints) {
        const time = evictionTime(taint, options);
        if (time !== undefined && (next === undefined || time < next)) next = time;
      }
    }
  }
  return next;
}

/** Devices of a server's GPUs, computed once per list of GPUs. */
function createTemplateCache(): (server: PoolServer) => readonly Device[] {
  const cache = new WeakMap<readonly Gpu[], { server: PoolServer; templates: readonly Device[] }>();
  return (server) => {
    const { gpus = [], address, facts, nodes } = server;
    const cached = cache.get(gpus);
    const isSame = cached?.server.address === address && cached.server.facts === facts && cached.server.nodes === nodes;
    if (cached && isSame) return cached.templates;
    const templates = gpus.map((gpu) => createDevice(server, gpu));
    cache.set(gpus, { server, templates });
    return templates;
  };
}

/** {@link withTaint}, computed once per device and taint. */
function createTaintCache(): (device: Device, taint: DeviceTaint | undefined) => Device {
  const cache = new WeakMap<Device, { taint: DeviceTaint; result: Device }>();
  return (device, taint) => {
    if (!taint) return device.taints ? withTaint(device, undefined) : device;
    const cached = cache.get(device);
    if (cached?.taint === taint) return cached.result;
    const result = withTaint(device, taint);
    cache.set(device, { taint, result });
    return result;
  };
}

/** {@link isUpToDate} for desired slices of one owner, computed once per slice, list of devices and number of GPUs. */
function createMatchCache(): (slice: ResourceSlice, desired: DesiredSlice) => boolean {
  const cache = new WeakMap<ResourceSlice, { desired: DesiredSlice; result: boolean }>();
  return (slice, desired) => {
    const cached = cache.get(slice);
    const isSame =
      cached?.desired.poolGpus === desired.poolGpus && hasSameElements(cached?.desired.devices ?? [], desired.devices);
    if (cached && isSame) return cached.result;
    const result = isUpToDate(slice, desired);
    cache.set(slice, { desired, result });
    return result;
  };
}

function hasSameElements(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((element, index) => element === b[index]);
}
