import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";

export interface ClaimOptions {
  count?: number;
  units?: number;
  annotations?: Record<string, string>;
  /** Whether the GPUs must be of one server. */
  oneServer?: boolean;
  /** Units that the scheduler has allocated, by pool/device. Undefined: the claim waits. */
  allocated?: Readonly<Record<string, number>>;
  namespace?: string;
  pod?: string;
}

export function claim(name: string, options: ClaimOptions = {}): ResourceClaim {
  const { count = 1, units = 50, annotations = {}, oneServer, allocated, namespace = "team", pod = "train" } = options;
  const results = Object.entries(allocated ?? {}).map(([key, value]) => {
    const [pool = "", device = ""] = key.split("/");
    return {
      driver: "bitfusion.io",
      pool,
      device,
      request: "gpu",
      consumedCapacity: { units: String(value), memory: "0" },
    };
  });
  return {
    metadata: {
      creationTimestamp: "2026-11-01T00:00:00Z",
      name,
      namespace,
      annotations,
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: pod, uid: `uid-${pod}` }],
    },
    spec: {
      devices: {
        requests: [
          { exactly: { deviceClassName: "bitfusion.io", count, capacity: { requests: { units: String(units) } } } },
        ],
        ...(oneServer ? { constraints: [{ requests: ["gpu"], matchAttribute: "bitfusion.io/server" }] } : {}),
      },
    },
    ...(allocated ? { status: { allocation: { devices: { results } } } } : {}),
  };
}
