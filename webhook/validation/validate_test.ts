import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatPodClaims, parsePodClaims } from "../../pool/pod_claims.ts";
import type { InjectionSettings } from "../injection/injection.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container, Pod } from "../pod/pod.ts";
import type { AdmissionRequest } from "../review/review.ts";
import {
  annotatedPods,
  BINARY,
  bothSettings,
  claimSettings,
  dataPlaneSettings,
  defaulted,
  FILTER,
  gpu,
  librarySettings,
  MEMORY,
  MODE,
  mutated,
  NUM,
  PERCENT,
  pod,
  poolOf,
  requestOf,
  settings,
  sidecarSettings,
  testCatalogue,
  testClient,
  UNITS,
} from "../testing.ts";
import { type ValidationSettings, validate } from "./validate.ts";

function decisionOn(object: unknown, using: ValidationSettings = settings, request: Partial<AdmissionRequest> = {}) {
  return validate(requestOf(object, request), using);
}

/** An injected pod after a change by another webhook. */
function changed(change: (spec: Pod["spec"], given: Pod) => void, given = pod([gpu()])): Pod {
  const result = structuredClone(mutated(given));
  change(result.spec, result);
  return result;
}

/** An element of a list. Throws if it does not exist. */
function elementOf<T>(list: readonly T[] | undefined, index = 0): T {
  const element = list?.[index];
  if (!element) throw new Error(`No element ${index}`);
  return element;
}

const bare = (containers: Container[], spec: JsonObject = {}): Pod => ({ metadata: {}, spec: { ...spec, containers } });
const NOT_INJECTED =
  "expected it as the webhook injects it; create the pod again from a manifest without injected parts";
const ADDED_LATER = "which was added after the webhook had patched the pod: expected it in the pod as it is created";

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
    "a share with the annotation none",
    pod([gpu()], { annotations: { [MODE]: "none" } }),
    "share",
    `Container "train": ${NUM} is "1", which has no effect without the annotation ${MODE}: "yes" on the pod`,
  ],
  [
    "a share that was not converted to units",
    pod([gpu()]),
    "injection",
    `Container "train": ${NUM} is "1", ${ADDED_LATER}`,
  ],
  [
    "a share that was added after injection",
    changed(({ containers }) => void containers.push(gpu({ name: "late" }))),
    "injection",
    `Container "late": ${NUM} is "1", ${ADDED_LATER}`,
  ],
  [
    "a share of a Windows pod",
    pod([gpu()], { spec: { os: { name: "windows" } } }),
    "share",
    `Container "train": ${NUM} is "1": there is no client for Windows`,
  ],
  [
    "a share of a Windows pod without the annotation",
    bare([gpu()], { os: { name: "windows" } }),
    "share",
    `Container "train": ${NUM} is "1": there is no client for Windows`,
  ],
  [
    "units without the annotation",
    bare([gpu({}, { [UNITS]: "50" })]),
    "share",
    `Container "train": ${UNITS} is "50", which has no effect without the annotation ${MODE}: "yes" on the pod`,
  ],
  [
    "units of a Windows pod",
    pod([gpu({}, { [UNITS]: "50" })], { spec: { os: { name: "windows" } } }),
    "share",
    `Container "train": ${UNITS} is "50": there is no client for Windows`,
  ],
  [
    "units without a client",
    pod([gpu({}, { [UNITS]: "50" })]),
    "injection",
    `Init container "bitfusion-client" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "an unknown mode",
    pod([], { annotations: { [MODE]: "maybe" } }),
    "mode",
    `Annotation ${MODE} is "maybe": expected one of all, on, true, y, yes, injection, n, no, none, off, false`,
  ],
  [
    "an unknown client",
    changed((_, { metadata }) => Object.assign(metadata.annotations ?? {}, { "bitfusion-client/os": "centos9" })),
    "client",
    'No client has bitfusion-client/os "centos9": expected one of linux 1',
  ],
  [
    "a pod without the injected init container",
    changed((spec) => void spec.initContainers?.shift()),
    "injection",
    `Init container "bitfusion-client" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "a pod whose init container has another command",
    changed((spec) =>
      Object.assign(elementOf(spec.initContainers), { command: ["/usr/bin/bitfusion", "install", "-x"] }),
    ),
    "injection",
    `Init container "bitfusion-client" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "a pod whose init container lacks a volume",
    changed((spec) => void elementOf(spec.initContainers).volumeMounts?.pop()),
    "injection",
    `Init container "bitfusion-client" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "a pod with units in an init container that runs before the injected one",
    changed((spec) => void spec.initContainers?.unshift({ ...elementOf(spec.containers), name: "early" })),
    "injection",
    `Init container "early" runs before "bitfusion-client": ${NOT_INJECTED}`,
  ],
  [
    "a pod that lacks one of the volumes",
    changed((spec) => void spec.volumes?.splice(1, 1)),
    "injection",
    `Volume "bitfusion-opt" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "a pod with another volume under the name of a client volume",
    changed((spec) => void spec.volumes?.splice(3, 1, { name: "bitfusion-tokens", secret: { secretName: "other" } })),
    "injection",
    `Volume "bitfusion-tokens" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "a container that lacks one of the mounts",
    changed((spec) => void elementOf(spec.containers).volumeMounts?.shift()),
    "injection",
    `Container "train" has no mount at /bitfusion: ${NOT_INJECTED}`,
  ],
  [
    "a container with another volume at a mount path of the client",
    changed((spec) => Object.assign(elementOf(elementOf(spec.containers).volumeMounts, 2), { name: "other" })),
    "injection",
    `Container "train" has no mount at /etc/bitfusion/servers.conf: ${NOT_INJECTED}`,
  ],
  [
    "a second container with units but without the client",
    changed((spec) => void spec.containers.push(gpu({ name: "late" }, { [UNITS]: "1" }))),
    "injection",
    `Container "late" has no mount at /bitfusion: ${NOT_INJECTED}`,
  ],
  [
    "a container whose command does not run under the client",
    changed((spec) => Object.assign(elementOf(spec.containers), { command: ["/wrapper", "python"] })),
    "injection",
    `Container "train" does not run ${BINARY}: ${NOT_INJECTED}`,
  ],
  [
    "a container whose command was removed",
    changed((spec) => void delete elementOf(spec.containers).command),
    "injection",
    `Container "train" does not run ${BINARY}: ${NOT_INJECTED}`,
  ],
])("validate() refuses %s", (_, object, reason, message) => {
  expect(decisionOn(object)).toEqual({ result: "denied", reason, message });
});

const injection = pod([{ name: "notebook", image: "jupyter", resources: { limits: { [NUM]: 1 } } }], {
  annotations: { [MODE]: "injection" },
});

test.each<[description: string, object: Pod, using?: InjectionSettings]>([
  ["injected", mutated(pod([gpu()]))],
  [
    "that an earlier version of the webhook has injected",
    changed((spec) => Object.assign(elementOf(spec.initContainers), { name: "populate" })),
  ],
  ["with units in an init container", mutated(pod([], { spec: { initContainers: [gpu()] } }))],
  [
    "whose init container has another image and other resources",
    changed((spec) => Object.assign(elementOf(spec.initContainers), { image: "mirror/client", resources: {} })),
  ],
  [
    "whose init container has an additional mount",
    changed((spec) => void elementOf(spec.initContainers).volumeMounts?.unshift({ name: "mesh", mountPath: "/mesh" })),
  ],
  [
    "with containers, init containers and volumes of another webhook",
    changed((spec) => {
      spec.containers.unshift({ name: "proxy" });
      spec.initContainers?.push({ name: "proxy-setup", command: ["x"] });
      spec.volumes?.unshift({ name: "mesh" });
    }),
  ],
  [
    "with the sidecar of a mesh before the injected init container",
    changed((spec) => void spec.initContainers?.unshift({ name: "mesh", restartPolicy: "Always" })),
  ],
  ["in mode injection, with any command", mutated(injection)],
  [
    "for a client that leaves commands alone",
    mutated(pod([gpu({ command: undefined })]), librarySettings),
    librarySettings,
  ],
  ["whose command runs the client itself", mutated(pod([gpu({ command: ["bitfusion run -n 1 -- python x.py"] })]))],
  [
    "whose command runs the client from a directory with a space",
    mutated(pod([gpu({ command: ["/a b/bitfusion", "run"] })])),
  ],
])("validate() accepts a pod %s", (_, object, using = settings) => {
  expect(decisionOn(object, using)).toEqual({ result: "allowed", reason: "valid", message: "Injected completely" });
});

test.each<[description: string, libraryPath: string, isAllowed: boolean]>([
  ["as injected", "/opt/library/lib:/own", true],
  ["with another webhook's libraries in front", "/mesh:/opt/library/lib:/own", true],
  ["with another webhook's libraries at the end", "/opt/library/lib:/own:/mesh", true],
  ["without the client's libraries", "/own", false],
  ["with a folder of the client's libraries only", "/opt/library/lib/x", false],
])("validate() decides about a container whose LD_LIBRARY_PATH is %s", (_, libraryPath, isAllowed) => {
  const after = structuredClone(
    mutated(pod([gpu({ env: [{ name: "LD_LIBRARY_PATH", value: "/own" }] })]), librarySettings),
  );
  const variable = after.spec.containers[0]?.env?.find(({ name }) => name === "LD_LIBRARY_PATH");
  Object.assign(variable ?? {}, { value: libraryPath });
  const decision = decisionOn(after, librarySettings);
  expect(decision.result).toBe(isAllowed ? "allowed" : "denied");
  if (!isAllowed) {
    expect(decision.message).toBe(`Container "train" has no /opt/library/lib in LD_LIBRARY_PATH: ${NOT_INJECTED}`);
  }
});

test("validate() accepts a client with a space in its path", () => {
  const using = { catalogue: testCatalogue(testClient({ binary: "/my client/bitfusion" })) };
  expect(decisionOn(mutated(pod([gpu()]), using), using).result).toBe("allowed");
});

test.each<[description: string, object: Pod]>([
  ["that requests other resources", bare([{ name: "a", resources: { limits: { cpu: 1, "nvidia.com/gpu": 1 } } }])],
  ["with the annotation and without a share", pod([{ name: "a" }])],
  ["for Windows without a share", pod([{ name: "a" }], { spec: { os: { name: "windows" } } })],
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
    "a mirror pod, which runs already",
    { object: { ...bare([gpu()]), metadata: { annotations: { "kubernetes.io/config.mirror": "hash" } } } },
  ],
])("validate() accepts %s with any request", (_, request) => {
  expect(decisionOn(bare([gpu()]), settings, request).result).toBe("allowed");
});

test("validate() rejects a pod that it cannot read with 400 and the field", () => {
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
  ["the sum of the containers'", pod([share("a", 1), share("b", 2), { name: "c" }]), 300],
  [
    "the largest init container's",
    pod([share("a", 1)], { spec: { initContainers: [share("i", 3), share("j", 2)] } }),
    300,
  ],
  [
    "the sum of the containers' and the sidecars'",
    pod([share("a", 1)], { spec: { initContainers: [sidecar("s", 2)] } }),
    300,
  ],
  [
    "the sum of an init container's and an earlier sidecar's",
    pod([share("a", 1)], { spec: { initContainers: [sidecar("s", 2), share("i", 3)] } }),
    500,
  ],
  [
    "an init container's without a later sidecar's",
    pod([share("a", 1)], { spec: { initContainers: [share("i", 4), sidecar("s", 2)] } }),
    400,
  ],
])("validate() counts %s units as the scheduler does (KEP-753)", (_, object, units) => {
  const injectedPod = mutated(object);
  expect(decisionOn(injectedPod, { ...settings, pool: poolOf(units / 100) }).result).toBe("allowed");
  expect(decisionOn(injectedPod, { ...settings, pool: poolOf(units / 100 - 1) })).toEqual({
    result: "denied",
    reason: "capacity",
    message: `The pod requests ${units} units of ${UNITS}, but the whole pool has ${units - 100}: it would wait forever`,
  });
});

test("validate() with claims refuses a pod that was given a node after injection", () => {
  const { metadata, spec } = mutated(pod([gpu()]), claimSettings);
  expect(decisionOn({ metadata, spec: { ...spec, nodeName: "worker" } }, claimSettings)).toMatchObject({
    result: "denied",
    message: `spec.nodeName is "worker", with which the scheduler gives the pod no GPU: ${NOT_INJECTED}`,
  });
});

const UNSUPPORTED = "The pod never starts unless its scheduler supports ResourceClaims with consumable capacity";

test.each<
  [description: string, scheduler: string | undefined, using: ValidationSettings, warnings: string[] | undefined]
>([
  ["the default scheduler", "default-scheduler", claimSettings, undefined],
  ["no scheduler", undefined, claimSettings, undefined],
  ["one that may know no claims", "yunikorn", claimSettings, [`${UNSUPPORTED}: "yunikorn"`]],
  ["one that the settings name", "batch", { ...claimSettings, schedulers: ["other", "batch"] }, undefined],
  ["one with a long name", "s".repeat(253), claimSettings, [`${UNSUPPORTED}: "${"s".repeat(27)}`]],
  ["any, in a cluster without claims", "yunikorn", settings, undefined],
])("validate() warns about the scheduler of a pod, for %s", (_, schedulerName, using, warnings) => {
  const given = pod([gpu()], { spec: schedulerName === undefined ? {} : { schedulerName } });
  const decision = decisionOn(mutated(given, using), using);
  expect(decision).toMatchObject({ result: "allowed", message: "Injected completely" });
  expect("warnings" in decision ? decision.warnings : undefined).toEqual(warnings);
});

test("validate() without claims refuses a pod that was injected with claims, which nobody would allocate", () => {
  expect(decisionOn(mutated(pod([gpu()]), claimSettings), settings)).toMatchObject({
    result: "denied",
    message: `Annotation bitfusion.io/claims is of a cluster that shares its pool by claims: ${NOT_INJECTED}`,
  });
});

test("validate() with claims refuses a container whose claim is missing or replaced", () => {
  const injectedPod = mutated(pod([gpu({ name: "a" })]), claimSettings);
  expect(decisionOn(injectedPod, claimSettings).result).toBe("allowed");
  const withoutPodClaim = structuredClone(injectedPod);
  withoutPodClaim.spec.resourceClaims = [];
  const withoutContainerClaim = structuredClone(injectedPod);
  delete withoutContainerClaim.spec.containers[0]?.resources?.claims;
  const otherClaim = structuredClone(injectedPod);
  Object.assign(otherClaim.spec.resourceClaims?.[0] ?? {}, { resourceClaimName: "mine" });
  const withoutAnnotation = structuredClone(injectedPod);
  delete withoutAnnotation.metadata.annotations?.["bitfusion.io/claims"];
  for (const broken of [withoutPodClaim, withoutContainerClaim, otherClaim, withoutAnnotation]) {
    const { result, message } = decisionOn(broken, claimSettings);
    expect([result, message]).toEqual(["denied", expect.stringContaining('"a" has no resource claim')]);
  }
});

test("validate() with claims refuses a claim that does not select the data plane of the client", () => {
  const injectedPod = mutated(pod([gpu({ name: "a" })]), dataPlaneSettings("1"));
  expect(decisionOn(injectedPod, dataPlaneSettings("1")).result).toBe("allowed");
  expect(decisionOn(injectedPod, dataPlaneSettings("2"))).toMatchObject({
    result: "denied",
    reason: "injection",
    message: `The claim of container "a" has no filter server.data-plane-build=2: ${NOT_INJECTED}`,
  });
});

test("validate() with claims refuses a pod whose client no server of the pool can serve", () => {
  const using = dataPlaneSettings("2");
  const injectedPod = mutated(pod([gpu({ name: "a" })]), using);
  const facts = { hostname: "s", hasRdma: false, cudaVersion: "", driverVersion: "" };
  const serving = (build: string) => poolOf(1, { facts: { ...facts, dataPlane: { name: "lupine", build } } });
  expect(decisionOn(injectedPod, { ...using, pool: [...serving("1"), ...poolOf(1)] })).toEqual({
    result: "denied",
    reason: "capacity",
    message:
      'Container "a" requests 50 % of one GPU that matches server.data-plane=lupine and server.data-plane-build=2, but no server has this data plane: they have lupine of build 1 and none: it would wait forever',
  });
  expect(decisionOn(injectedPod, { ...using, pool: [...serving("1"), ...serving("2")] }).result).toBe("allowed");
});

test("validate() with claims refuses a pod whose claims would hold more than its units", () => {
  const given = pod([gpu({ name: "a" })], {
    spec: { initContainers: [gpu({ name: "i" }, { [NUM]: 1, [PERCENT]: 60 })] },
  });
  expect(decisionOn(mutated(given, claimSettings), claimSettings)).toMatchObject({
    result: "denied",
    reason: "claims",
    message: expect.stringContaining("hold 110 units of bitfusion.io/gpu for its whole life (50 for a, 60 for i)"),
  });
});

test.each<[description: string, limits: Record<string, string | number>, filter: string, message: string]>([
  ["more different GPUs than the pool has", { [NUM]: 3, [PERCENT]: 10 }, "", "10 % of each of 3 different GPUs"],
  [
    "a GPU that no server has",
    { [NUM]: 1, [PERCENT]: 10 },
    "device.name=A100",
    "10 % of one GPU that matches device.name=A100",
  ],
  ["a server that the pool does not have", { [NUM]: 1 }, "server.addr=pool-b", "has 0 that can give it"],
  [
    "memory that no GPU has",
    { [NUM]: 1, [MEMORY]: "8Gi" },
    "device.phy-memory=80000",
    "8590 MB of one GPU that matches device.phy-memory=80000 as 54 units of a GPU",
  ],
])("validate() with claims refuses %s, and lists the GPUs of the pool", (_, limits, filter, message) => {
  const annotations: Record<string, string> = filter ? { [FILTER]: filter } : {};
  const injectedPod = mutated(pod([gpu({ name: "a" }, limits)], { annotations }), claimSettings);
  const decision = decisionOn(injectedPod, { ...claimSettings, pool: poolOf(2) });
  expect(decision).toMatchObject({ result: "denied", reason: "capacity" });
  expect(decision.message).toContain(message);
  expect(decision.message).toContain("(2 × Tesla T4 of 16000 MB)");
  expect(decisionOn(injectedPod, claimSettings).result).toBe("allowed"); // the pool is unknown
});

/** A container that requests this percentage of each of some GPUs. */
const part = (name: string, gpus: number, percent: number, extra: JsonObject = {}) =>
  gpu({ name, ...extra }, { [NUM]: gpus, [PERCENT]: percent });

test.each<[description: string, given: Pod, gpus: number, message: string]>([
  [
    "three containers of 60 % on two GPUs",
    pod([part("a", 1, 60), part("b", 1, 60), part("c", 1, 60)]),
    2,
    'Containers "a" (60 % of one GPU), "b" (60 % of one GPU) and "c" (60 % of one GPU) hold their GPUs at the same time, but the whole pool (2 × Tesla T4 of 16000 MB) can hold only "a" and "b": the pod would wait forever',
  ],
])("validate() with claims refuses %s, which the pool could never hold", (_, given, gpus, message) => {
  const injectedPod = mutated(given, claimSettings);
  const capacity = { result: "denied", reason: "capacity", message } as const;
  expect(decisionOn(injectedPod, { ...claimSettings, pool: poolOf(gpus) })).toEqual(capacity);
  expect(decisionOn(injectedPod, { ...claimSettings, pool: poolOf(2 * gpus) }).result).toBe("allowed");
  expect(decisionOn(injectedPod, claimSettings).result).toBe("allowed"); // the pool is unknown
});

/** An injected pod whose claims need their GPUs of one server. */
function onOneServer(given: Pod): Pod {
  const result = structuredClone(mutated(given, claimSettings));
  const annotations = result.metadata.annotations as Record<string, string>;
  const claims = parsePodClaims(annotations["bitfusion.io/claims"] ?? "");
  annotations["bitfusion.io/claims"] = formatPodClaims(claims.map((claim) => ({ ...claim, oneServer: true })));
  return result;
}

test.each<[description: string, given: Pod, message: string]>([
  [
    "more GPUs of one server than any server has",
    pod([part("a", 3, 60)]),
    'Container "a" requests 60 % of each of 3 different GPUs of one server, but no server has more than 2 that can give it (3 × Tesla T4 of 16000 MB): it would wait forever',
  ],
  [
    "GPUs of one server for two containers that only one server has",
    pod([part("a", 2, 60), part("b", 2, 60)]),
    'Containers "a" (60 % of each of 2 different GPUs of one server) and "b" (60 % of each of 2 different GPUs of one server) hold their GPUs at the same time, but the whole pool (3 × Tesla T4 of 16000 MB) can hold only "a": the pod would wait forever',
  ],
])("validate() with claims refuses %s", (_, given, message) => {
  const pool = [...poolOf(2), ...poolOf(1, { address: "pool-b:56001" })];
  expect(decisionOn(onOneServer(given), { ...claimSettings, pool })).toEqual({
    result: "denied",
    reason: "capacity",
    message,
  });
  const larger = [...poolOf(3), ...poolOf(2, { address: "pool-b:56001" })];
  expect(decisionOn(onOneServer(given), { ...claimSettings, pool: larger }).result).toBe("allowed");
});

test("validate() without claims accepts containers that may wait for each other", () => {
  const given = mutated(pod([part("a", 1, 60), part("b", 1, 60), part("c", 1, 60)]));
  expect(decisionOn(given, { ...settings, pool: poolOf(2) }).result).toBe("allowed");
});

test("validate() with claims refuses memory that the units of the pool's GPUs do not have", () => {
  const injectedPod = mutated(pod([gpu({}, { [NUM]: 1, [MEMORY]: "16G" })]), { ...claimSettings, gpuMemoryMb: 32_000 });
  expect(decisionOn(injectedPod, { ...claimSettings, pool: poolOf(2) })).toMatchObject({
    reason: "capacity",
    message: expect.stringContaining(
      "requests 16000 MB of one GPU as 50 units of a GPU, but the whole pool has 0 that can",
    ),
  });
});

test("validate() refuses no pod for its size if the pool has no GPU", () => {
  for (const using of [settings, claimSettings]) {
    expect(decisionOn(mutated(pod([gpu()]), using), { ...using, pool: [] }).result).toBe("allowed");
  }
});

test("validate() with claims refuses a claim for more than 32 GPUs, the limit of Kubernetes", () => {
  const injectedPod = structuredClone(mutated(pod([part("a", 32, 1)]), claimSettings));
  const pool = poolOf(100);
  expect(decisionOn(injectedPod, { ...claimSettings, pool }).result).toBe("allowed");
  const { annotations = {} } = injectedPod.metadata;
  annotations["bitfusion.io/claims"] = annotations["bitfusion.io/claims"]?.replace("32x1", "33x1") ?? "";
  Object.assign(injectedPod.spec.containers[0]?.resources ?? {}, {
    requests: { [UNITS]: "33" },
    limits: { [UNITS]: "33" },
  });
  for (const using of [claimSettings, { ...claimSettings, pool }]) {
    expect(decisionOn(injectedPod, using)).toEqual({
      result: "denied",
      reason: "capacity",
      message:
        'Container "a" requests 1 % of each of 33 different GPUs: expected at most 32 GPUs, the limit of a ResourceClaim of Kubernetes',
    });
  }
});

test("validate() with claims accepts a share that the pool could give, also if it is held now", () => {
  const injectedPod = mutated(pod([gpu({}, { [NUM]: 2, [MEMORY]: "16000M" })]), claimSettings);
  expect(decisionOn(injectedPod, { ...claimSettings, pool: poolOf(2) }).result).toBe("allowed");
});

test("validate() with claims decides also about a pool with a GPU without memory", () => {
  const injectedPod = mutated(pod([gpu({}, { [NUM]: 1, [MEMORY]: "8G" })]), claimSettings);
  const broken = poolOf(2).map((attributes) => ({ ...attributes, memoryMb: 0 }));
  expect(decisionOn(injectedPod, { ...claimSettings, pool: broken })).toMatchObject({ reason: "capacity" });
  const pool = [...broken, ...poolOf(2)];
  expect(decisionOn(injectedPod, { ...claimSettings, pool }).result).toBe("allowed");
});

test("validate() refuses no pod for its size if the pool is unknown", () => {
  const injectedPod = mutated(pod([share("a", 1_000_000)]));
  expect(decisionOn(injectedPod).result).toBe("allowed");
  expect(decisionOn(injectedPod, { ...settings, pool: undefined }).result).toBe("allowed");
});

test("validate() accepts each pod that mutate() has patched, also with the defaults of the API server", () => {
  let valid = 0;
  for (const using of [settings, librarySettings, claimSettings, sidecarSettings, bothSettings]) {
    fc.assert(
      fc.property(annotatedPods, (given) => {
        const after = mutated(given, using);
        const decision = decisionOn(after, using);
        if (decision.reason !== "claims") expect(decision.result).toBe("allowed");
        else expect(decision.message).toContain("give init containers at most the share of an app container");
        expect(decisionOn(defaulted(after), using)).toEqual(decision);
        if (decision.reason === "valid") valid++;
      }),
    );
  }
  expect(valid).toBeGreaterThan(20); // otherwise the generated pods are too simple for this test
});
