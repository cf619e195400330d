import { expect, test } from "bun:test";
import type { InjectionSettings } from "./injection.ts";
import { decide } from "./mutate.ts";
import type { AdmissionRequest } from "./review.ts";

const settings: InjectionSettings = {
  catalogue: {
    default: "simulated",
    clients: [
      {
        name: "simulated",
        os: "linux",
        version: "1",
        image: "client",
        populate: ["install"],
        resources: { requests: {}, limits: {} },
        binary: "/bitfusion/bin/bitfusion",
        libraryPath: "/bitfusion/lib",
      },
    ],
  },
};

const pod = {
  metadata: { annotations: { "auto-management/bitfusion": "yes" } },
  spec: { containers: [{ name: "a", command: ["x"], resources: { limits: { "bitfusion.io/gpu-num": 1 } } }] },
};

function request(changes: Partial<AdmissionRequest> = {}): AdmissionRequest {
  const resource = { group: "", version: "v1", resource: "pods" };
  const defaults = { uid: "u", name: "", namespace: "default", dryRun: false };
  return { ...defaults, resource, operation: "CREATE", object: pod, ...changes };
}

test("decide() patches an annotated pod that is created", () => {
  expect(decide(request(), settings)).toMatchObject({
    result: "patched",
    reason: expect.stringContaining("Injected into "),
  });
});

test("decide() takes a request without a resource by its kind", () => {
  const kind = (name: string) => ({ group: "", version: "v1", kind: name });
  expect(decide(request({ resource: undefined, kind: kind("Pod") }), settings).result).toBe("patched");
  expect(decide(request({ resource: undefined, kind: kind("Service") }), settings).result).toBe("allowed");
});

test.each<[description: string, changes: Partial<AdmissionRequest>]>([
  ["an update (fault of the original: the operation isn't checked)", { operation: "UPDATE" }],
  ["a deletion, which has no object", { operation: "DELETE", object: null }],
  ["a connection", { operation: "CONNECT", subResource: "exec" }],
  ["a subresource", { subResource: "ephemeralcontainers" }],
  ["another resource", { resource: { group: "", version: "v1", resource: "services" } }],
  ["pods of another group", { resource: { group: "metrics.k8s.io", version: "v1", resource: "pods" } }],
  ["a pod in kube-system", { namespace: "kube-system" }],
  ["a pod in kube-public", { namespace: "kube-public" }],
  ["a pod in kube-node-lease", { namespace: "kube-node-lease" }],
  ["a pod without annotations", { object: { metadata: {}, spec: { containers: [] } } }],
])("decide() allows %s untouched", (_, changes) => {
  expect(decide(request(changes), settings).result).toBe("allowed");
});

test("decide() denies what its user can mend", () => {
  const object = { ...pod, metadata: { annotations: { "auto-management/bitfusion": "maybe" } } };
  expect(decide(request({ object }), settings)).toEqual({
    result: "denied",
    reason: expect.stringContaining('Annotation auto-management/bitfusion is "maybe": expected one of'),
  });
});

test.each<[description: string, object: unknown, field: string]>([
  ["no object", undefined, "the document"],
  ["null", null, "the document is null"],
  ["no spec", { metadata: {} }, "spec is not set"],
  ["containers that are no list", { metadata: {}, spec: { containers: {} } }, "spec.containers: expected "],
  [
    "a command that is text",
    { metadata: {}, spec: { containers: [{ name: "a", command: "x y" }] } },
    'spec.containers.0.command is "x y"',
  ],
  [
    "a limit that is no quantity",
    { metadata: {}, spec: { containers: [{ name: "a", resources: { limits: { "bitfusion.io/gpu-num": true } } }] } },
    "spec.containers.0.resources.limits.bitfusion.io/gpu-num is true: expected a quantity",
  ],
  [
    "an annotation that is no text",
    { metadata: { annotations: { a: 1 } }, spec: { containers: [] } },
    "metadata.annotations.a is 1: expected string",
  ],
])("decide() answers a pod with %s with 400 and the field", (_, object, field) => {
  const decision = decide(request({ object }), settings);
  expect(decision).toMatchObject({ result: "errored", code: 400 });
  expect(decision.reason).toContain(`Cannot read the pod: ${field}`);
});
