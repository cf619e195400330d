import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseQuantity } from "../../../kubernetes/formats/quantity.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import type { Container } from "../../pod/pod.ts";
import { gpu, injected, NUM, names, PERCENT, pod } from "../../testing.ts";

type List = Record<string, string | number>;

/** A container that requests a share and these resources. */
function gpuOf(limits: List, requests?: List): Container {
  return gpu({ resources: { limits: { [NUM]: 1, [PERCENT]: 50, ...limits }, ...(requests ? { requests } : {}) } });
}

/** The resources of the init container that is added to a pod. */
function resourcesOf(containers: Container[], spec: JsonObject = {}): Container["resources"] {
  const [first] = injected(pod(containers, { spec })).spec.initContainers ?? [];
  expect(first?.name).toBe("bitfusion-client");
  return first?.resources;
}

const SMALL = { cpu: "100m", memory: "64Mi" };
const LARGE = { cpu: 2, memory: "1Gi" };

test.each<[description: string, containers: Container[], spec: JsonObject, requests: List, limits: List]>([
  ["none, if no container sets any", [gpuOf({})], {}, {}, {}],
  ["the requests and limits of a Guaranteed container", [gpuOf(SMALL, SMALL)], {}, SMALL, SMALL],
  ["requests that equal the limits, if only limits are set", [gpuOf(SMALL)], {}, SMALL, SMALL],
  ["requests without limits", [gpuOf({}, SMALL)], {}, SMALL, {}],
  [
    "the request and the limit of a container",
    [gpuOf({ cpu: "400m" }, { cpu: "0.1" })],
    {},
    { cpu: "0.1" },
    { cpu: "400m" },
  ],
  [
    "the largest of each resource",
    [gpuOf({ cpu: "1500m", memory: "900Mi" }), { name: "b", resources: { limits: { cpu: 1, memory: "1G" } } }],
    {},
    { cpu: "1500m", memory: "1G" },
    { cpu: "1500m", memory: "1G" },
  ],
  [
    "those of an init container that needs more",
    [gpuOf(SMALL)],
    { initContainers: [{ name: "load", resources: { limits: LARGE } }] },
    LARGE,
    LARGE,
  ],
  [
    "no limit below its request, if a container without a limit requests more",
    [gpuOf({ cpu: "1" }), { name: "b", resources: { requests: { cpu: "2" } } }],
    {},
    { cpu: "2" },
    {},
  ],
  [
    "ephemeral storage, which a quota can require of every container",
    [gpuOf({ "ephemeral-storage": "1Gi" })],
    {},
    { "ephemeral-storage": "1Gi" },
    { "ephemeral-storage": "1Gi" },
  ],
  ["no other resources", [gpuOf({ "hugepages-2Mi": "4Mi", "example.com/nic": 1 })], {}, {}, {}],
  ["none, if only the pod as a whole sets some (KEP-2837)", [gpuOf({})], { resources: { limits: SMALL } }, {}, {}],
  ["none for a quantity that the API server refuses", [gpuOf({ cpu: "one" })], {}, {}, {}],
])("the init container gets %s", (_, containers, spec, requests, limits) => {
  expect(resourcesOf(containers, spec)).toEqual({ requests, limits });
});

const QUANTITIES = {
  cpu: ["0", "50m", "100m", "0.25", "1", 2, "1500m"],
  memory: ["0", "16Mi", "64Mi", "100M", "1Gi", 1e9, "1.5Gi"],
} as const;

/** Containers with any mix of valid requests and limits, as the API server sends them: a request that is missing equals the limit. */
const resources = fc
  .record(
    {
      cpu: fc.tuple(
        fc.constantFrom(...QUANTITIES.cpu),
        fc.constantFrom(...QUANTITIES.cpu),
        fc.constantFrom("both", "request"),
      ),
      memory: fc.tuple(
        fc.constantFrom(...QUANTITIES.memory),
        fc.constantFrom(...QUANTITIES.memory),
        fc.constantFrom("both", "request"),
      ),
    },
    { requiredKeys: [] },
  )
  .map((chosen) => {
    const [requests, limits]: [List, List] = [{}, {}];
    for (const [name, [a, b, set]] of Object.entries(chosen)) {
      const isOrdered = parseQuantity(a) <= parseQuantity(b);
      requests[name] = isOrdered ? a : b;
      if (set === "both") limits[name] = isOrdered ? b : a;
    }
    return { requests, limits };
  });

const pods = fc
  .record({
    first: resources,
    containers: fc.array(resources, { maxLength: 3 }),
    initContainers: fc.array(fc.tuple(resources, fc.boolean()), { maxLength: 3 }),
  })
  .map(({ first, containers, initContainers }) =>
    pod(
      [gpuOf(first.limits, first.requests), ...containers.map((own, index) => ({ name: `c${index}`, resources: own }))],
      {
        spec: {
          initContainers: initContainers.map(([own, isSidecar], index) => ({
            name: `i${index}`,
            resources: own,
            ...(isSidecar ? { restartPolicy: "Always" } : {}),
          })),
        },
      },
    ),
  );

/** What the scheduler and quotas count for a pod (KEP-753). */
function total(given: ReturnType<typeof pod>, kind: "requests" | "limits", name: string): bigint {
  const of = ({ resources: own }: Container) => parseQuantity(own?.[kind]?.[name] ?? 0);
  let [sidecars, maximum] = [0n, 0n];
  for (const container of given.spec.initContainers ?? []) {
    if (container.restartPolicy === "Always") sidecars += of(container);
    else if (sidecars + of(container) > maximum) maximum = sidecars + of(container);
  }
  const running = given.spec.containers.reduce((sum, container) => sum + of(container), sidecars);
  return running > maximum ? running : maximum;
}

test("the init container passes wherever the pod's own containers pass, and adds nothing to what the pod requests", () => {
  fc.assert(
    fc.property(pods, (given) => {
      const after = injected(given);
      const [ours, ...others] = after.spec.initContainers ?? [];
      const own = [...others, ...after.spec.containers];
      for (const name of ["cpu", "memory"]) {
        const [request, limit] = [ours?.resources?.requests?.[name], ours?.resources?.limits?.[name]];
        const [requests, limits] = (["requests", "limits"] as const).map((kind) =>
          own.map((each) => each.resources?.[kind]?.[name]),
        );
        // valid: k8s.io/kubernetes/pkg/apis/core/validation
        if (request !== undefined && limit !== undefined)
          expect(parseQuantity(request) <= parseQuantity(limit)).toBe(true);
        // a quota or LimitRange may require what every container sets, within the minimum and maximum of what they set
        if (!requests?.includes(undefined)) expect(requests).toContain(request);
        if (!limits?.includes(undefined)) expect(limits).toContain(limit);
        // a LimitRange may limit the ratio (compared without fractions: limit / request)
        if (request !== undefined && limit !== undefined) {
          const isWithinRatio = (each: Container) =>
            parseQuantity(limit) * parseQuantity(each.resources?.requests?.[name] ?? 0) <=
            parseQuantity(each.resources?.limits?.[name] ?? 0) * parseQuantity(request);
          expect(limits?.includes(undefined) || own.some(isWithinRatio)).toBe(true);
        }
        expect(total(after, "requests", name)).toBe(total(given, "requests", name));
        expect(total(after, "limits", name)).toBe(total(given, "limits", name));
      }
      expect(names(others)).toEqual(names(given.spec.initContainers));
    }),
  );
});
