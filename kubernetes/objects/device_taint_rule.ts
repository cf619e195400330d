import type { ApiObject } from "../watch.ts";
import type { DeviceTaint } from "./resource_slice.ts";

/**
 * The paths of the collection of all DeviceTaintRules, the best version first. It is GA in Kubernetes 1.37. In 1.36 it is beta and off by
 * default, and earlier versions have none.
 */
export const DEVICE_TAINT_RULES: readonly string[] = ["v1", "v1beta2"].map(
  (version) => `/apis/resource.k8s.io/${version}/devicetaintrules`,
);

/** The fields of a DeviceTaintRule (k8s.io/api/resource/v1) that the programs use: a taint that an administrator gives to devices. */
export interface DeviceTaintRule extends ApiObject {
  readonly spec: {
    /** Absent: it selects no device. */
    readonly deviceSelector?: DeviceTaintSelector;
    readonly taint: Omit<DeviceTaint, "timeAdded"> & { readonly timeAdded?: string };
  };
}

/** All fields that are set must match. One without fields selects every device. */
export interface DeviceTaintSelector {
  readonly driver?: string;
  readonly pool?: string;
  readonly device?: string;
}

/** Whether a rule gives its taint to a device. */
export function appliesTo(
  { spec: { deviceSelector } }: DeviceTaintRule,
  { driver, pool, device }: Required<DeviceTaintSelector>,
): boolean {
  if (!deviceSelector) return false;
  return (
    (deviceSelector.driver ?? driver) === driver &&
    (deviceSelector.pool ?? pool) === pool &&
    (deviceSelector.device ?? device) === device
  );
}
