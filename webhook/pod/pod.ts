import * as v from "valibot";

const Quantity = v.union([v.string(), v.number()], "expected a quantity");
const Resources = v.looseObject({
  limits: v.optional(v.record(v.string(), Quantity)),
  requests: v.optional(v.record(v.string(), Quantity)),
  claims: v.optional(v.array(v.looseObject({ name: v.string() }))),
});
const Named = v.looseObject({ name: v.string() });
const NodeSelector = v.looseObject({
  nodeSelectorTerms: v.array(v.looseObject({ matchFields: v.optional(v.array(v.unknown())) })),
});
const NodeAffinity = v.looseObject({ requiredDuringSchedulingIgnoredDuringExecution: v.optional(NodeSelector) });

const Container = v.looseObject({
  name: v.string(),
  restartPolicy: v.optional(v.string()),
  command: v.optional(v.array(v.string())),
  args: v.optional(v.array(v.string())),
  env: v.optional(v.array(v.looseObject({ name: v.string(), value: v.optional(v.string()) }))),
  resources: v.optional(Resources),
  volumeMounts: v.optional(v.array(v.looseObject({ name: v.string(), mountPath: v.string() }))),
  ports: v.optional(v.array(v.looseObject({ containerPort: v.number() }))),
  volumeDevices: v.optional(v.array(v.looseObject({ name: v.string(), devicePath: v.string() }))),
});

/** The fields of a Pod (k8s.io/api/core/v1) that the webhook reads. Unknown fields are kept. */
export const Pod = v.looseObject({
  metadata: v.looseObject({
    name: v.optional(v.string()),
    generateName: v.optional(v.string()),
    annotations: v.optional(v.record(v.string(), v.string())),
  }),
  spec: v.looseObject({
    containers: v.array(Container),
    initContainers: v.optional(v.array(Container)),
    ephemeralContainers: v.optional(v.array(Named)),
    volumes: v.optional(v.array(Named)),
    resourceClaims: v.optional(v.array(v.looseObject({ name: v.string(), resourceClaimName: v.optional(v.string()) }))),
    resources: v.optional(Resources),
    os: v.optional(v.looseObject({ name: v.string() })),
    nodeName: v.optional(v.string()),
    schedulerName: v.optional(v.string()),
    hostNetwork: v.optional(v.boolean()),
    affinity: v.optional(v.looseObject({ nodeAffinity: v.optional(NodeAffinity) })),
  }),
});

export type Pod = v.InferOutput<typeof Pod>;
export type Container = v.InferOutput<typeof Container>;

/** Whether a pod declares that it runs on Windows nodes. */
export function isWindows({ spec }: Pod): boolean {
  return spec.os?.name === "windows";
}

/** All containers of a pod, init containers first. */
export function containersOf({ spec }: Pod): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers];
}

/** The quantity of a resource in a container's limits, or else in its requests. */
export function quantityOf({ resources }: Container, resource: string): string | number | undefined {
  return resources?.limits?.[resource] ?? resources?.requests?.[resource];
}
