import * as v from "valibot";

const Quantity = v.union([v.string(), v.number()], "expected a quantity");
const Resources = v.looseObject({
  limits: v.optional(v.record(v.string(), Quantity)),
  requests: v.optional(v.record(v.string(), Quantity)),
  claims: v.optional(v.array(v.looseObject({ name: v.string() }))),
});
const Named = v.looseObject({ name: v.string() });

const Container = v.looseObject({
  name: v.string(),
  restartPolicy: v.optional(v.string()),
  command: v.optional(v.array(v.string())),
  args: v.optional(v.array(v.string())),
  env: v.optional(v.array(v.looseObject({ name: v.string(), value: v.optional(v.string()) }))),
  resources: v.optional(Resources),
  volumeMounts: v.optional(v.array(v.looseObject({ name: v.string(), mountPath: v.string() }))),
});

/** A Pod as far as injection reads it; everything else in it is kept as it is. */
export const Pod = v.looseObject({
  metadata: v.looseObject({
    name: v.optional(v.string()),
    generateName: v.optional(v.string()),
    annotations: v.optional(v.record(v.string(), v.string())),
  }),
  spec: v.looseObject({
    containers: v.array(Container),
    initContainers: v.optional(v.array(Container)),
    volumes: v.optional(v.array(Named)),
    resourceClaims: v.optional(
      v.array(v.looseObject({ name: v.string(), resourceClaimTemplateName: v.optional(v.string()) })),
    ),
    resources: v.optional(Resources),
    os: v.optional(v.looseObject({ name: v.string() })),
  }),
});

export type Pod = v.InferOutput<typeof Pod>;
export type Container = v.InferOutput<typeof Container>;

/** Whether the pod says that it is for Windows nodes. */
export function isWindows({ spec }: Pod): boolean {
  return spec.os?.name === "windows";
}

/** What a container asks of a resource, in its limits or else in its requests. */
export function quantityOf({ resources }: Container, resource: string): string | number | undefined {
  return resources?.limits?.[resource] ?? resources?.requests?.[resource];
}
