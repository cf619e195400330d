import { isDeepStrictEqual } from "node:util";
import type { NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { Device, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { READY_NODE_LABEL } from "../../pool/driver.ts";
import type { NodeLabels } from "../../pool/servers/server_entry.ts";

const READY = { key: READY_NODE_LABEL, operator: "Exists" } as const;

/** The nodes on which the driver is ready. Elsewhere a bound pod could never start. */
const READY_NODES: NodeSelector = { nodeSelectorTerms: [{ matchExpressions: [READY] }] };

/** What a slice says of the nodes that reach its devices (ResourceSliceSpec, k8s.io/api/resource/v1). */
type NodeSelection = Pick<ResourceSlice["spec"], "nodeSelector" | "perDeviceNodeSelection" | "devices">;

/** The nodes with these labels on which the driver is ready. */
export function selectNodes(labels: NodeLabels): NodeSelector {
  const expressions = Object.entries(labels).map(([key, value]) => ({ key, operator: "In" as const, values: [value] }));
  return { nodeSelectorTerms: [{ matchExpressions: [READY, ...expressions] }] };
}

/**
 * The part of a slice with these devices, of which those without `nodeSelector` are reached from all nodes where the driver is ready. The
 * selector is that of the slice if all devices have the same: the scheduler then evaluates it once.
 */
export function formatSelection(devices: readonly Device[]): Required<Pick<NodeSelection, "devices">> & NodeSelection {
  const nodeSelector = devices[0]?.nodeSelector;
  if (devices.every((device) => isDeepStrictEqual(device.nodeSelector, nodeSelector))) {
    return { nodeSelector: nodeSelector ?? READY_NODES, devices: devices.map(withoutSelector) };
  }
  return {
    perDeviceNodeSelection: true,
    devices: devices.map((device) => ({ ...device, nodeSelector: device.nodeSelector ?? READY_NODES })),
  };
}

/** The devices of a slice, in the form that {@link formatSelection} takes. */
export function parseSelection({
  devices = [],
  nodeSelector,
  perDeviceNodeSelection,
}: NodeSelection): readonly Device[] {
  if (!perDeviceNodeSelection && isDeepStrictEqual(nodeSelector, READY_NODES)) return devices;
  return devices.map((device) => {
    const selector = perDeviceNodeSelection ? device.nodeSelector : nodeSelector;
    const isReachedFromAll = selector === undefined || isDeepStrictEqual(selector, READY_NODES);
    return isReachedFromAll ? withoutSelector(device) : { ...device, nodeSelector: selector };
  });
}

function withoutSelector(device: Device): Device {
  if (!device.nodeSelector) return device;
  const { nodeSelector: _, ...rest } = device;
  return rest;
}
