import { expect, test } from "bun:test";
import fc from "fast-check";
import type { InjectionSettings } from "../injection/injection.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container, Pod } from "../pod/pod.ts";
import type { AdmissionRequest } from "../review/review.ts";
import {
  annotatedPods,
  BINARY,
  claimSettings,
  defaulted,
  FILTER,
  gpu,
  lupineSettings,
  MEMORY,
  MODE,
  mutated,
  NUM,
  PERCENT,
  pod,
  poolOf,
  requestOf,
  settings,
  testCatalogue,
  testClient,
  UNITS,
} from "../testing.ts";
import { type ValidationSettings, validate } from "./validate.ts";

function decisionOn(object: unknown, using: ValidationSettings = settings, request: Partial<AdmissionRequest> = {}) {
  return validate(requestOf(object, request), using);
}

/** An injected pod after someone else's change. */
function changed(change: (spec: Pod["spec"], given: Pod) => void, given = pod([gpu()])): Pod {
  const result = structuredClone(mutated(given));
  change(result.spec, result);
  return result;
}

/** One that must be there. */
function found<T>(list: readonly T[] | undefined, index = 0): T {
  const element = list?.[index];
  if (!element) throw new Error(`No element ${index}`);
  return element;
}

const bare = (containers: Container[], spec: JsonObject = {}): Pod => ({ metadata: {}, spec: { ...spec, containers } });
const MEND = `expected it as the webhook injects it; create the pod again, without ${UNITS}`;
const LATE = "which was added after the webhook had patched the pod: expected it in the pod as it is created";

test.each<[description: string, object: Pod, reason: string, message: string]>([
  [
    "a share without the annotation",
    bare([gpu()]),
    "share",
    `Container "train": ${NUM} is "1", which has no effect without the annotation ${MODE}: "yes" on the pod`,
  ],
  [
    "a share in requests of an init container, without the annotation",
    bare([], { initContainers: [{ name: "a", resources: { requests: { [PERCENT]: 50 } } }] }),
    "share",
    `Container "a": ${PERCENT} is "50", which has no effect without the annotation ${MODE}: "yes" on the pod`,
  ],
  [
    "a share of a pod that is annotated none",
    pod([gpu()], { annotations: { [MODE]: "none" } }),
    "share",
    `Container "train": ${NUM} is "1", which has no effect without the annotation ${MODE}: "yes" on the pod`,
  ],
  ["a share that nobody has turned into units", pod([gpu()]), "injection", `Container "train": ${NUM} is "1", ${LATE}`],
  [
    "a share that was added after injection",
    changed(({ containers }) => void containers.push(gpu({ name: "late" }))),
    "injection",
    `Container "late": ${NUM} is "1", ${LATE}`,
  ],
  [
    "a share of a Windows pod",
    pod([gpu()], { spec: { os: { name: "windows" } } }),
    "share",
    `Container "train": ${NUM} is "1": there is no client for Windows`,
  ],
  [
    "a share of a Windows pod that is not annotated",
    bare([gpu()], { os: { name: "windows" } }),
    "share",
    `Container "train": ${NUM} is "1": there is no client for Windows`,
  ],
  [
    "units without the annotation",
    bare([gpu({}, { [UNITS]: "50" })]),
    "injection",
    `Container "train": ${UNITS} is "50": expected ${NUM} and ${PERCENT}, and the annotation ${MODE}: "yes" on the pod`,
  ],
  [
    "units without a client",
    pod([gpu({}, { [UNITS]: "50" })]),
    "injection",
    `Init container "populate" is missing or changed: ${MEND}`,
  ],
  [
    "a mode that it doesn't know",
    pod([], { annotations: { [MODE]: "maybe" } }),
    "mode",
    `Annotation ${MODE} is "maybe": expected one of all, on, true, y, yes, injection, n, no, none, off, false`,
  ],
  [
    "a client that it doesn't have",
    changed((_, { metadata }) => Object.assign(metadata.annotations ?? {}, { "bitfusion-client/os": "centos9" })),
    "client",
    'No client has bitfusion-client/os "centos9": expected one of linux 1',
  ],
  [
    "a pod without our init container",
    changed((spec) => void spec.initContainers?.shift()),
    "injection",
    `Init container "populate" is missing or changed: ${MEND}`,
  ],
  [
    "a pod whose init container runs something else",
    changed((spec) => Object.assign(found(spec.initContainers), { command: ["/usr/bin/bitfusion", "install", "-x"] })),
    "injection",
    `Init container "populate" is missing or changed: ${MEND}`,
  ],
  [
    "a pod whose init container lacks a volume",
    changed((spec) => void found(spec.initContainers).volumeMounts?.pop()),
    "injection",
    `Init container "populate" is missing or changed: ${MEND}`,
  ],
  [
    "a pod in which an init container with units runs before the client is there",
    changed((spec) => void spec.initContainers?.unshift({ ...found(spec.containers), name: "early" })),
    "injection",
    `Init container "early" runs before "populate": ${MEND}`,
  ],
  [
    "a pod without one of the volumes",
    changed((spec) => void spec.volumes?.splice(1, 1)),
    "injection",
    `Volume "bitfusion-opt" is missing or changed: ${MEND}`,
  ],
  [
    "a pod with another volume under the name of one",
    changed((spec) => void spec.volumes?.splice(3, 1, { name: "bitfusion-tokens", secret: { secretName: "other" } })),
    "injection",
    `Volume "bitfusion-tokens" is missing or changed: ${MEND}`,
  ],
  [
    "a container without one of the mounts",
    changed((spec) => void found(spec.containers).volumeMounts?.shift()),
    "injection",
    `Container "train" has no mount at /bitfusion: ${MEND}`,
  ],
  [
    "a container with something else at the place of one",
    changed((spec) => Object.assign(found(found(spec.containers).volumeMounts, 2), { name: "other" })),
    "injection",
    `Container "train" has no mount at /etc/bitfusion/servers.conf: ${MEND}`,
  ],
  [
    "a second container with units of its own",
    changed((spec) => void spec.containers.push(gpu({ name: "late" }, { [UNITS]: "1" }))),
    "injection",
    `Container "late" has no mount at /bitfusion: ${MEND}`,
  ],
  [
    "a container whose command no longer runs under the client",
    changed((spec) => Object.assign(found(spec.containers), { command: ["/wrapper", "python"] })),
    "injection",
    `Container "train" does not run ${BINARY}: ${MEND}`,
  ],
  [
    "a container whose command is gone",
    changed((spec) => void delete found(spec.containers).command),
    "injection",
    `Container "train" does not run ${BINARY}: ${MEND}`,
  ],
])("validate() refuses %s, and says so", (_, object, reason, message) => {
  expect(decisionOn(object)).toEqual({ result: "denied", reason, message: message });
});

const injection = pod([{ name: "notebook", image: "jupyter", resources: { limits: { [NUM]: 1 } } }], {
  annotations: { [MODE]: "injection" },
});

test.each<[description: string, object: Pod, using?: InjectionSettings]>([
  ["injected", mutated(pod([gpu()]))],
  ["with units in an init container", mutated(pod([], { spec: { initContainers: [gpu()] } }))],
  [
    "of which the init container's image and resources were changed",
    changed((spec) => Object.assign(found(spec.initContainers), { image: "mirror/client", resources: {} })),
  ],
  [
    "of which the init container has a mount of someone else's",
    changed((spec) => void found(spec.initContainers).volumeMounts?.unshift({ name: "mesh", mountPath: "/mesh" })),
  ],
  [
    "with containers, init containers and volumes of someone else's",
    changed((spec) => {
      spec.containers.unshift({ name: "proxy" });
      spec.initContainers?.push({ name: "proxy-setup", command: ["x"] });
      spec.volumes?.unshift({ name: "mesh" });
    }),
  ],
  [
    "with a mesh's sidecar in front of our init container",
    changed((spec) => void spec.initContainers?.unshift({ name: "mesh", restartPolicy: "Always" })),
  ],
  ["in mode injection, whatever its command", mutated(injection)],
  [
    "for a client that leaves commands alone",
    mutated(pod([gpu({ command: undefined })]), lupineSettings),
    lupineSettings,
  ],
  ["whose user runs the client", mutated(pod([gpu({ command: ["bitfusion run -n 1 -- python x.py"] })]))],
  ["whose client lies in a folder with a space", mutated(pod([gpu({ command: ["/a b/bitfusion", "run"] })]))],
])("validate() accepts a pod %s", (_, object, using = settings) => {
  expect(decisionOn(object, using)).toEqual({ result: "allowed", reason: "valid", message: "Injected completely" });
});

test("validate() accepts a client whose own path has a space", () => {
  const using = { catalogue: testCatalogue(testClient({ binary: "/my client/bitfusion" })) };
  expect(decisionOn(mutated(pod([gpu()]), using), using).result).toBe("allowed");
});

test.each<[description: string, object: Pod]>([
  ["that asks for nothing of ours", bare([{ name: "a", resources: { limits: { cpu: 1, "nvidia.com/gpu": 1 } } }])],
  ["that is annotated and asks for nothing", pod([{ name: "a" }])],
  ["for Windows that asks for nothing", pod([{ name: "a" }], { spec: { os: { name: "windows" } } })],
])("validate() accepts a pod %s", (_, object) => {
  expect(decisionOn(object)).toMatchObject({ result: "allowed", reason: "no_share" });
});

test.each<[description: string, request: Partial<AdmissionRequest>]>([
  ["a pod in kube-system", { namespace: "kube-system" }],
  ["a pod in kube-public", { namespace: "kube-public" }],
  ["a pod in kube-node-lease", { namespace: "kube-node-lease" }],
  ["an update", { operation: "UPDATE" }],
  ["a deletion, which has no object", { operation: "DELETE", object: null }],
  ["a subresource", { subResource: "resize" }],
  ["another resource", { resource: { group: "", version: "v1", resource: "services" } }],
  [
    "a mirror pod: it runs already",
    { object: { ...bare([gpu()]), metadata: { annotations: { "kubernetes.io/config.mirror": "hash" } } } },
  ],
])("validate() accepts %s, whatever it asks for", (_, request) => {
  expect(decisionOn(bare([gpu()]), settings, request).result).toBe("allowed");
});

test("validate() answers a pod that it cannot read with 400 and the field", () => {
  expect(decisionOn({ metadata: {} })).toEqual({
    result: "errored",
    reason: "unreadable",
    code: 400,
    message: expect.stringContaining("Cannot read the pod: spec is not set"),
  });
});

const share = (name: string, gpus: number, extra: JsonObject = {}) => gpu({ name, ...extra }, { [NUM]: gpus });
const sidecar = (name: string, gpus: number) => share(name, gpus, { restartPolicy: "Always" });

test.each<[description: string, object: Pod, units: number]>([
  ["a container's", pod([share("a", 2)]), 200],
  ["containers together", pod([share("a", 1), share("b", 2), { name: "c" }]), 300],
  [
    "the largest init container's",
    pod([share("a", 1)], { spec: { initContainers: [share("i", 3), share("j", 2)] } }),
    300,
  ],
  ["containers and sidecars together", pod([share("a", 1)], { spec: { initContainers: [sidecar("s", 2)] } }), 300],
  [
    "an init container's beside the sidecar before it",
    pod([share("a", 1)], { spec: { initContainers: [sidecar("s", 2), share("i", 3)] } }),
    500,
  ],
  [
    "an init container's without the sidecar after it",
    pod([share("a", 1)], { spec: { initContainers: [share("i", 4), sidecar("s", 2)] } }),
    400,
  ],
])("validate() counts %s units as the scheduler does (KEP-753)", (_, object, units) => {
  const whole = mutated(object);
  expect(decisionOn(whole, { ...settings, pool: poolOf(units / 100) }).result).toBe("allowed");
  expect(decisionOn(whole, { ...settings, pool: poolOf(units / 100 - 1) })).toEqual({
    result: "denied",
    reason: "capacity",
    message: `The pod requests ${units} units of ${UNITS}, but the whole pool has ${units - 100}: it would wait forever`,
  });
});

test("validate() with claims refuses a container whose claim someone has taken away", () => {
  const whole = mutated(pod([gpu({ name: "a" })]), claimSettings);
  expect(decisionOn(whole, claimSettings).result).toBe("allowed");
  const withoutPodClaim = structuredClone(whole);
  withoutPodClaim.spec.resourceClaims = [];
  const withoutContainerClaim = structuredClone(whole);
  delete withoutContainerClaim.spec.containers[0]?.resources?.claims;
  const ofAnother = structuredClone(whole);
  Object.assign(ofAnother.spec.resourceClaims?.[0] ?? {}, { resourceClaimTemplateName: "mine" });
  for (const broken of [withoutPodClaim, withoutContainerClaim, ofAnother]) {
    const { result, message } = decisionOn(broken, claimSettings);
    expect([result, message]).toEqual(["denied", expect.stringContaining('"a" has no resource claim "bitfusion-a"')]);
  }
});

test.each<[description: string, limits: Record<string, string | number>, filter: string, message: string]>([
  ["more different GPUs than the pool has", { [NUM]: 3, [PERCENT]: 10 }, "", "10 % of each of 3 different GPUs"],
  [
    "a GPU that no server has",
    { [NUM]: 1, [PERCENT]: 10 },
    "device.name=A100",
    "10 % of one GPU that match device.name=A100",
  ],
  ["a server that the pool has not", { [NUM]: 1 }, "server.addr=pool-b", "has 0 that can give it"],
  ["memory that no GPU has", { [NUM]: 1, [MEMORY]: "8Gi" }, "device.phy-memory=80000", "8590 MB of one GPU that match"],
])("validate() with claims refuses %s at once, and says what the pool has", (_, limits, filter, message) => {
  const annotations: Record<string, string> = filter ? { [FILTER]: filter } : {};
  const whole = mutated(pod([gpu({ name: "a" }, limits)], { annotations }), claimSettings);
  const decision = decisionOn(whole, { ...claimSettings, pool: poolOf(2) });
  expect(decision).toMatchObject({ result: "denied", reason: "capacity" });
  expect(decision.message).toContain(message);
  expect(decision.message).toContain("(2 × Tesla T4 of 16000 MB)");
  expect(decisionOn(whole, claimSettings).result).toBe("allowed"); // the pool is not known
});

test("validate() with claims accepts what a GPU of the pool can give, whoever holds it now", () => {
  const whole = mutated(pod([gpu({}, { [NUM]: 2, [MEMORY]: "16000M" })]), claimSettings);
  expect(decisionOn(whole, { ...claimSettings, pool: poolOf(2) }).result).toBe("allowed");
});

test("validate() with claims refuses what servers could give that tell the scheduler nothing", () => {
  const whole = mutated(pod([gpu()]), claimSettings);
  const silent = { address: "bitfusion:56001", reachable: true };
  expect(decisionOn(whole, { ...claimSettings, pool: { servers: [silent] } })).toMatchObject({
    reason: "capacity",
    message: expect.stringContaining(
      "(bitfusion:56001) do not report GPUs that the scheduler could share: set ALLOCATION=units",
    ),
  });
  for (const other of [...poolOf(1).servers, { address: "away:1", reachable: false }]) {
    expect(decisionOn(whole, { ...claimSettings, pool: { servers: [silent, other] } }).result).toBe("allowed");
  }
  expect(decisionOn(mutated(pod([gpu()])), { ...settings, pool: { servers: [silent] } }).result).toBe("allowed");
});

test("validate() refuses nothing for its size when the pool is not known", () => {
  const whole = mutated(pod([share("a", 1_000_000)]));
  expect(decisionOn(whole).result).toBe("allowed");
  expect(decisionOn(whole, { ...settings, pool: undefined }).result).toBe("allowed");
});

test("validate() accepts whatever mutate() makes of a pod, and what the API server fills in after it", () => {
  let valid = 0;
  for (const using of [settings, lupineSettings, claimSettings]) {
    fc.assert(
      fc.property(annotatedPods, (given) => {
        const after = mutated(given, using);
        const decision = decisionOn(after, using);
        expect(decision.result).toBe("allowed");
        expect(decisionOn(defaulted(after), using)).toEqual(decision);
        if (decision.reason === "valid") valid++;
      }),
    );
  }
  expect(valid).toBeGreaterThan(20); // else the pods are too simple to tell
});
