import type { Condition } from "../../kubernetes/objects/resource_claim.ts";
import type { DeviceTaint } from "../../kubernetes/objects/resource_slice.ts";
import type { ApiObject } from "../../kubernetes/watch.ts";

/** The versions of the API that have DeviceTaintRules, the best first: GA in Kubernetes 1.37, beta and off by default in 1.36. */
const VERSIONS = ["v1", "v1beta2"] as const;

/** The paths of the collection of all DeviceTaintRules. An API server has one of them, both or none. */
export const DEVICE_TAINT_RULES: readonly string[] = VERSIONS.map(
  (version) => `/apis/resource.k8s.io/${version}/devicetaintrules`,
);

/** The fields of a DeviceTaintRule (k8s.io/api/resource/v1) that the console uses. */
export interface DeviceTaintRule extends ApiObject {
  readonly metadata: ApiObject["metadata"] & {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
  };
  readonly spec: {
    /** All that it names must be equal. Empty: all devices of all drivers. Absent: no device. */
    readonly deviceSelector?: { readonly driver?: string; readonly pool?: string; readonly device?: string };
    readonly taint: Omit<DeviceTaint, "effect" | "timeAdded"> & {
      readonly effect: DeviceTaint["effect"] | "None";
      readonly timeAdded?: string;
    };
  };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

/** Whether a rule taints a device. */
export function selectsDevice(
  { spec: { deviceSelector } }: Pick<DeviceTaintRule, "spec">,
  device: { readonly driver: string; readonly pool: string; readonly device: string },
): boolean {
  if (!deviceSelector) return false;
  return (["driver", "pool", "device"] as const).every((key) => (deviceSelector[key] ?? device[key]) === device[key]);
}
