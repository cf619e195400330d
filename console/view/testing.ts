import fc from "fast-check";
import type { DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import type { Event } from "../../kubernetes/objects/event.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { Device, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { POD_CLAIMS_ANNOTATION } from "../../pool/pod_claims.ts";

/** All collections of a cluster. */
export interface Cluster {
  readonly slices: readonly ResourceSlice[];
  readonly claims: readonly ResourceClaim[];
  readonly pods: readonly Pod[];
  readonly events: readonly Event[];
  readonly taintRules: readonly DeviceTaintRule[];
}

export const TIME = "2026-11-29T12:00:00Z";

export function device(name: string, server: string, changes: Partial<Device> = {}): Device {
  return {
    name,
    allowMultipleAllocations: true,
    attributes: {
      id: { string: `${server}/${name}` },
      server: { string: server },
      hostname: { string: server.split(":")[0] ?? "" },
      model: { string: "Tesla T4" },
      memoryMb: { int: 16_000 },
    },
    capacity: { units: { value: "100" } },
    ...changes,
  };
}

export function slice(
  name: string,
  devices: readonly Device[],
  { pool = name, generation = 1, driver = "bitfusion.io", gpus = devices.length } = {},
): ResourceSlice {
  return {
    metadata: { name, annotations: { "bitfusion.io/pool-gpus": String(gpus) } },
    spec: { driver, pool: { name: pool, generation, resourceSliceCount: 1 }, devices },
  };
}

export interface PodOptions {
  /** The share, as in the annotation of the pod's only claim: `1x50`. */
  readonly share?: string;
  readonly node?: string;
  readonly phase?: NonNullable<Pod["status"]>["phase"];
  readonly since?: string;
  readonly priority?: number;
  readonly message?: string;
}

/** A pod with a claim of its name. */
export function pod(name: string, options: PodOptions = {}): Pod {
  const { share = "1x50", node, phase = "Pending", since = TIME, priority, message } = options;
  const units = Number(share.split("x")[1]);
  const claim = { name, containers: ["main"], share, units, client: "client" };
  return {
    metadata: {
      name,
      namespace: "team",
      uid: `uid-${name}`,
      creationTimestamp: since,
      annotations: { [POD_CLAIMS_ANNOTATION]: JSON.stringify([claim]) },
    },
    spec: {
      containers: [{ name: "main", image: "image", resources: { limits: { "bitfusion.io/gpu": String(units) } } }],
      resourceClaims: [{ name: "gpu", resourceClaimName: name }],
      ...(node === undefined ? {} : { nodeName: node }),
      ...(priority === undefined ? {} : { priority }),
    },
    status: {
      phase,
      ...(message === undefined
        ? {}
        : { conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }] }),
    },
  };
}

export interface ClaimOptions {
  readonly count?: number;
  readonly units?: number;
  /** Units by pool/device. Undefined: it waits. */
  readonly held?: readonly (readonly [device: string, units: number])[];
  /** What the driver says: `True`, `False` or `Unknown`. */
  readonly ready?: "True" | "False" | "Unknown";
  readonly message?: string;
  /** Whether a pod of the same name owns it. */
  readonly owned?: boolean;
}

export function claim(name: string, options: ClaimOptions = {}): ResourceClaim {
  const { count = 1, units = 50, held, ready, message = "", owned = true } = options;
  const results = (held ?? []).map(([key, consumed], index) => {
    const [pool = "", device = ""] = key.split("/");
    const consumedCapacity = { units: String(consumed) };
    return { driver: "bitfusion.io", pool, device, request: "gpu", shareID: `${name}-${index}`, consumedCapacity };
  });
  const devices = results.map(({ driver, pool, device, shareID }) => ({
    driver,
    pool,
    device,
    shareID,
    conditions: [{ type: "Ready", status: ready ?? "Unknown", reason: "LeaseHeld", message, lastTransitionTime: TIME }],
    data: { node: "node-1", since: TIME },
  }));
  return {
    metadata: {
      name,
      namespace: "team",
      uid: `claim-${name}`,
      creationTimestamp: TIME,
      annotations: { "bitfusion.io/share": `${count}x${units}`, "bitfusion.io/containers": "main" },
      ownerReferences: owned ? [{ apiVersion: "v1", kind: "Pod", name, uid: `uid-${name}`, controller: true }] : [],
    },
    spec: {
      devices: {
        requests: [
          { exactly: { deviceClassName: "bitfusion.io", count, capacity: { requests: { units: String(units) } } } },
        ],
      },
    },
    ...(held ? { status: { allocation: { devices: { results } }, ...(ready ? { devices } : {}) } } : {}),
  };
}

const DEVICES = ["a", "b", "c", "d"];
const POOLS = ["bitfusion-0", "bitfusion-1", "other"];

const taint = fc.record({
  key: fc.constantFrom("bitfusion.io/unreachable", "bitfusion.io/draining", "example.com/repair"),
  effect: fc.constantFrom("None", "NoSchedule", "NoExecute"),
  timeAdded: fc.constant(TIME),
});

const randomDevice = fc
  .tuple(
    fc.constantFrom(...DEVICES),
    fc.constantFrom("s:1", "s:2", "s:10"),
    fc.array(taint, { maxLength: 2 }),
    fc.nat(200),
  )
  .map(([name, server, taints, units]) =>
    device(name, server, { taints, capacity: { units: { value: String(units) } } }),
  );

const randomSlice = fc.record({
  pool: fc.constantFrom(...POOLS),
  generation: fc.integer({ min: 1, max: 2 }),
  driver: fc.constantFrom("bitfusion.io", "bitfusion.io", "gpu.example.com"),
  devices: fc.array(randomDevice, { maxLength: 3 }),
});

const randomPod = fc.record({
  units: fc.integer({ min: 1, max: 100 }),
  count: fc.integer({ min: 1, max: 3 }),
  node: fc.option(fc.constant("node-1"), { nil: undefined }),
  phase: fc.constantFrom("Pending", "Running", "Succeeded", "Failed"),
  priority: fc.option(fc.nat(2), { nil: undefined }),
  hasPod: fc.boolean(),
  hasClaim: fc.boolean(),
  owned: fc.boolean(),
  ready: fc.constantFrom(undefined, "True", "False", "Unknown"),
  held: fc.option(
    fc.array(fc.tuple(fc.constantFrom(...POOLS), fc.constantFrom(...DEVICES), fc.nat(100)), {
      minLength: 1,
      maxLength: 3,
    }),
    { nil: undefined },
  ),
});

const randomRule = fc.record({ taint, device: fc.option(fc.constantFrom(...DEVICES), { nil: undefined }) });

/** A cluster with a few of everything, in which nothing needs to agree: devices are published twice, held too much, or not published. */
export const randomCluster: fc.Arbitrary<Cluster> = fc
  .record({
    slices: fc.array(randomSlice, { maxLength: 5 }),
    pods: fc.array(randomPod, { maxLength: 6 }),
    rules: fc.array(randomRule, { maxLength: 2 }),
  })
  .map(({ slices, pods, rules }): Cluster => {
    const named = pods.map((each, index) => ({ ...each, name: `pod-${index}` }));
    return {
      slices: slices.map(({ devices, ...options }, index) => slice(`slice-${index}`, devices, options)),
      pods: named.flatMap(({ name, hasPod, units, node, phase, priority }) =>
        hasPod
          ? [pod(name, { share: `1x${units}`, phase, ...(node ? { node } : {}), ...(priority ? { priority } : {}) })]
          : [],
      ),
      claims: named.flatMap(({ name, hasClaim, count, units, held, owned, ready }) =>
        hasClaim
          ? [
              claim(name, {
                count,
                units,
                owned,
                ...(ready ? { ready } : {}),
                ...(held ? { held: held.map(([pool, id, used]) => [`${pool}/${id}`, used] as const) } : {}),
              }),
            ]
          : [],
      ),
      events: [],
      taintRules: rules.map(({ taint, device }, index) => ({
        metadata: { name: `rule-${index}` },
        spec: { deviceSelector: device ? { device } : {}, taint },
      })),
    };
  });
