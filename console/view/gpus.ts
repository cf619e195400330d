import { parseInteger } from "../../kubernetes/formats/quantity.ts";
import { appliesTo, type DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import type { Device, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { attributesOfDevice, type DeviceAttributes } from "../../pool/attributes.ts";
import { deviceKey } from "../../pool/claims/device_key.ts";
import { DRIVER } from "../../pool/driver.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { foreignText } from "./text.ts";
import type { GpuState, GpuView, HeldShare, TaintView } from "./types.ts";

/** A published device, and the slice that it is in. */
export interface PublishedDevice {
  readonly slice: string;
  readonly pool: string;
  readonly device: Device;
  readonly attributes: DeviceAttributes;
  /** Id of the GPU. */
  readonly id: string;
  /** host:port. */
  readonly server: string;
}

/**
 * The devices of the driver, by {@link deviceKey}, in the order of the slices. As for the scheduler, only the slices of the newest generation of a pool count.
 *
 * @param problems gets a sentence for each device that is published twice.
 */
export function publishedDevices(slices: Iterable<ResourceSlice>, problems: string[]): Map<string, PublishedDevice> {
  const own = [...slices].filter(({ spec }) => spec.driver === DRIVER);
  const newest = new Map<string, number>();
  for (const { spec } of own) {
    newest.set(spec.pool.name, Math.max(spec.pool.generation, newest.get(spec.pool.name) ?? 0));
  }
  const published = new Map<string, PublishedDevice>();
  for (const { metadata, spec } of own) {
    if (spec.pool.generation !== newest.get(spec.pool.name)) continue;
    for (const device of spec.devices ?? []) {
      const key = deviceKey(spec.pool.name, device.name);
      const known = published.get(key);
      if (known) problems.push(`Device ${key} is in the slices ${known.slice} and ${metadata.name}: only one counts.`);
      else published.set(key, publish(metadata.name, spec.pool.name, device));
    }
  }
  return published;
}

function publish(slice: string, pool: string, device: Device): PublishedDevice {
  const attributes = attributesOfDevice(device);
  const { id = device.name, server = "" } = attributes;
  return { slice, pool, device, attributes, id: foreignText(id), server: foreignText(server) };
}

/** The states that the controller's taints stand for, the worst first. */
const STATES: readonly GpuState[] = ["gone", "unreachable", "unhealthy", "draining"];

/** A published GPU. */
export function publishedGpu(
  { slice, pool, device, attributes, id, server }: PublishedDevice,
  shares: readonly HeldShare[],
  rules: readonly DeviceTaintRule[],
): GpuView {
  const taints = taintsOf(pool, device, rules);
  const state = stateOf(taints);
  const totalUnits = parseInteger(device.capacity?.units?.value ?? "") ?? UNITS_PER_GPU;
  const heldUnits = sumOfUnits(shares);
  const rest = Math.max(0, totalUnits - heldUnits);
  const freeUnits = isBlocked(taints) ? 0 : rest;
  return {
    id,
    device: device.name,
    pool,
    slice,
    server,
    model: foreignText(attributes.model),
    memoryMb: attributes.memoryMb ?? 0,
    state,
    healthy: state === "ok" || state === "tainted" || state === "draining",
    totalUnits,
    heldUnits,
    freeUnits,
    blockedUnits: rest - freeUnits,
    taints,
    shares,
    attributes,
  };
}

/** A GPU that claims hold, and that no slice has. It has no units to give. */
export function unpublishedGpu(pool: string, device: string, shares: readonly HeldShare[]): GpuView {
  const [first] = shares;
  return {
    id: first?.gpu ?? device,
    device,
    pool,
    slice: "",
    server: first?.server ?? "",
    model: "",
    memoryMb: 0,
    state: "unpublished",
    healthy: false,
    totalUnits: 0,
    heldUnits: sumOfUnits(shares),
    freeUnits: 0,
    blockedUnits: 0,
    taints: [],
    shares,
    attributes: {},
  };
}

/** The taints of a device, and those that rules give to it. */
function taintsOf(pool: string, { name, taints = [] }: Device, rules: readonly DeviceTaintRule[]): TaintView[] {
  const own = taints.map(({ timeAdded, ...taint }): TaintView => ({ ...taint, since: timeAdded ?? "" }));
  const given = rules
    .filter((rule) => appliesTo(rule, { driver: DRIVER, pool, device: name }))
    .map(({ metadata, spec: { taint } }): TaintView => {
      const { timeAdded = "", ...rest } = taint;
      return { ...rest, since: timeAdded, rule: metadata.name };
    });
  return [...own, ...given];
}

function isBlocked(taints: readonly TaintView[]): boolean {
  return taints.some(({ effect }) => effect !== "None");
}

function stateOf(taints: readonly TaintView[]): GpuState {
  const known = STATES.find((state) => taints.some(({ key, rule }) => !rule && key === `bitfusion.io/${state}`));
  return known ?? (isBlocked(taints) ? "tainted" : "ok");
}

function sumOfUnits(shares: readonly HeldShare[]): number {
  return shares.reduce((sum, { units }) => sum + units, 0);
}
