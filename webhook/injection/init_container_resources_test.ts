import { expect, test } from "bun:test";
import type { JsonObject } from "../pod/json_object.ts";
import { gpu, injected, NUM, PERCENT, pod, testClient } from "../testing.ts";

const { requests, limits } = testClient().resources;

function gpuOf(quantities: JsonObject, ownRequests?: JsonObject) {
  const resources = {
    limits: { [NUM]: 1, [PERCENT]: 50, ...quantities },
    ...(ownRequests && { requests: ownRequests }),
  };
  return gpu({ resources });
}

test.each<[description: string, resources: JsonObject, expected: JsonObject]>([
  ["limits of cpu and memory", { limits: { cpu: "500m", memory: "128Mi" } }, { requests: {}, limits: {} }],
  [
    "a request of cpu, which a limit of cpu would increase",
    { requests: { cpu: "5m" } },
    { requests: { memory: "64Mi" }, limits: { memory: "256Mi" } },
  ],
  ["huge pages only", { limits: { "hugepages-2Mi": "4Mi" } }, { requests, limits }],
])("the init container stays within the resources of the pod: %s", (_, resources, expected) => {
  for (const own of [{}, { initContainers: [gpu()] }]) {
    const [populate] = injected(pod([gpu()], { spec: { ...own, resources } })).spec.initContainers ?? [];
    expect(populate?.resources).toEqual(expected);
  }
});

const guaranteed = { cpu: 2, memory: "1Gi" };

test.each<[qos: string, containers: ReturnType<typeof gpu>[], spec: JsonObject, expected: JsonObject]>([
  ["Guaranteed by limits alone", [gpuOf(guaranteed)], {}, { requests: limits, limits }],
  ["Guaranteed by both", [gpuOf(guaranteed, guaranteed)], {}, { requests: limits, limits }],
  ["Burstable: fewer requests", [gpuOf(guaranteed, { cpu: 1 })], {}, { requests, limits }],
  ["Burstable: a container without resources", [gpuOf(guaranteed), { name: "other" }], {}, { requests, limits }],
  ["Burstable: a limit of 0", [gpuOf({ ...guaranteed, cpu: "0" })], {}, { requests, limits }],
  [
    "Burstable: an init container without cpu and memory",
    [gpuOf(guaranteed)],
    { initContainers: [gpu()] },
    { requests, limits },
  ],
])("the init container keeps the QoS class of the pod, %s", (_, containers, spec, expected) => {
  const [populate] = injected(pod(containers, { spec })).spec.initContainers ?? [];
  expect(populate?.resources).toEqual(expected);
});
