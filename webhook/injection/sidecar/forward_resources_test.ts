import { expect, test } from "bun:test";
import type { JsonObject } from "../../pod/json_object.ts";
import type { Container } from "../../pod/pod.ts";
import { pod } from "../../testing.ts";
import { forwardResources } from "./forward_resources.ts";

type List = Record<string, string | number>;

const container = (limits: List, requests: List = {}): Container => ({ name: "a", resources: { limits, requests } });
const LIMITS = { cpu: "500m", memory: "256Mi" };

test.each<[description: string, containers: Container[], spec: JsonObject, requests: List, limits: List]>([
  ["none in a BestEffort pod", [container({}), { name: "b" }], {}, {}, {}],
  ["its limits as requests in a Guaranteed pod", [container({ cpu: 8, memory: "1Gi" })], {}, LIMITS, LIMITS],
  [
    "its limits as requests in a Guaranteed pod with other spellings",
    [container({ cpu: "100m", memory: "1Gi" }, { cpu: "0.1", memory: "1024Mi" })],
    {},
    LIMITS,
    LIMITS,
  ],
  [
    "small requests beside a container that may use more than it requests",
    [container({ cpu: 8, memory: "1Gi" }), container({ cpu: 8, memory: "1Gi" }, { cpu: 4, memory: "1Gi" })],
    {},
    { cpu: "50m", memory: "256Mi" },
    LIMITS,
  ],
  [
    "small requests beside a container without any, which makes the pod Burstable",
    [container({ cpu: 8, memory: "1Gi" }), { name: "b" }],
    {},
    { cpu: "50m", memory: "64Mi" },
    LIMITS,
  ],
  ["requests without limits", [container({}, { cpu: 1, memory: "1Gi" })], {}, { cpu: "50m", memory: "64Mi" }, {}],
  [
    "ephemeral storage, which a LimitRange can require of every container",
    [container({}, { "ephemeral-storage": "1Gi" })],
    {},
    { "ephemeral-storage": "16Mi" },
    {},
  ],
  [
    "small requests if an init container keeps the pod from being Guaranteed",
    [container({ cpu: 1 })],
    { initContainers: [{ name: "i" }] },
    { cpu: "50m" },
    { cpu: "500m" },
  ],
  [
    "nothing that the pod as a whole sets (KEP-2837)",
    [container({ cpu: 1 }, { memory: "1Gi" })],
    { resources: { limits: { cpu: 2 }, requests: { memory: "2Gi" } } },
    {},
    {},
  ],
  [
    "small requests beside a quantity that the API server refuses",
    [container({ cpu: 1 }, { cpu: "x" })],
    {},
    { cpu: "50m" },
    { cpu: "500m" },
  ],
])("the sidecar gets %s", (_, containers, spec, requests, limits) => {
  expect(forwardResources(pod(containers, { spec }))).toEqual({ requests, limits });
});
