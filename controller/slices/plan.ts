import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import type { Device, DeviceTaint, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { addressAttributes } from "../../pool/attributes.ts";
import type { Gpu, Inventory, PoolServer } from "../../pool/inventory.ts";
import { attributesOfDevice, createDevice, withTaint } from "./device.ts";
import { deviceKey, type HeldUnits, splitDeviceKey } from "./device_key.ts";
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
 * - A GPU that is in a slice which must be removed is published again after the removal, so that it never counts twice.
 *
 * The result depends on the arguments alone. Work on servers and slices that are the same objects as before is not repeated.
 *
 * @param owner of all slices
 */
export function createSlicePlanner(owner?: OwnerReference): SlicePlanner {
  const templatesOf = createTemplateCache();
  const tainted = createTaintCache();
  const matches = createMatchCache(owner);

  return ({ inventory, slices, held }, options) => {
    const leftOut = new Map<string, string>();
    const reported = reportedGpus(inventory.servers, templatesOf, leftOut);
    const silent = silentServers(inventory);
    const { own, foreign } = classify(slices);
    const desired = new Map<number, Device[]>();
    const published = new Set<string>();
    const keptForClaims = new Set<string>();

    /** The device that should take the place of a published one. Undefined if it should be removed. */
    function successor(before: Device, key: string): Device | undefined {
      const gpu = reported.get(before.name);
      if (gpu) return tainted(gpu.template, gpu.problem && taintFor(gpu.problem, before, options));
      if (silent.size > 0 && silent.has(attributesOfDevice(before).server ?? "")) {
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
      for (const before of spec.devices ?? []) {
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

    return {
      ...compare({ own, desired, foreign, owner }, matches),
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
  return healthy ? undefined : { kind: "unhealthy", detail: problem };
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

interface Comparison {
  own: ReadonlyMap<number, ResourceSlice>;
  desired: ReadonlyMap<number, readonly Device[]>;
  foreign: readonly ResourceSlice[];
  owner: OwnerReference | undefined;
}

function compare(
  { own, desired, foreign, owner }: Comparison,
  matches: (slice: ResourceSlice, devices: readonly Device[]) => boolean,
): Pick<Plan, "removals" | "updates" | "creations"> {
  const removals = [...foreign];
  const updates: { desired: DesiredSlice; current: ResourceSlice }[] = [];
  const creations: DesiredSlice[] = [];
  for (const [index, devices] of [...desired].sort(([a], [b]) => a - b)) {
    const current = own.get(index);
    if (!current) {
      if (devices.length > 0) creations.push({ name: sliceName(index), devices, owner });
    } else if (devices.length === 0) removals.push(current);
    else if (!matches(current, devices)) updates.push({ desired: { name: sliceName(index), devices, owner }, current });
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
    const { gpus = [], address, facts } = server;
    const cached = cache.get(gpus);
    if (cached && cached.server.address === address && cached.server.facts === facts) return cached.templates;
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

/** {@link isUpToDate}, computed once per slice and list of devices. */
function createMatchCache(
  owner: OwnerReference | undefined,
): (slice: ResourceSlice, devices: readonly Device[]) => boolean {
  const cache = new WeakMap<ResourceSlice, { devices: readonly Device[]; result: boolean }>();
  return (slice, devices) => {
    const cached = cache.get(slice);
    if (cached && hasSameElements(cached.devices, devices)) return cached.result;
    const result = isUpToDate(slice, { devices, owner });
    cache.set(slice, { devices, result });
    return result;
  };
}

function hasSameElements(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((element, index) => element === b[index]);
}
