import fc from "fast-check";
import { applyPatch, type Operation } from "rfc6902";
import { attributesOf, type DeviceAttributes } from "../pool/attributes.ts";
import type { PoolServer } from "../pool/inventory.ts";
import type { Catalogue, ClientDefinition, CopiedClient, SidecarClient } from "./clients/catalogue.ts";
import { type InjectionSettings, inject } from "./injection/injection.ts";
import { mutate } from "./injection/mutate.ts";
import type { JsonObject } from "./pod/json_object.ts";
import { readMode } from "./pod/mode.ts";
import type { Container, Pod } from "./pod/pod.ts";
import type { AdmissionRequest, PatchOperation } from "./review/review.ts";

export const MODE = "auto-management/bitfusion";
export const STATUS = "auto-management/status";
export const EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
export const FILTER = "bitfusion-client/filter";
export const NUM = "bitfusion.io/gpu-num";
export const PERCENT = "bitfusion.io/gpu-percent";
export const MEMORY = "bitfusion.io/gpu-memory";
export const UNITS = "bitfusion.io/gpu";
export const BINARY = "/bitfusion/bin/bitfusion";

/** The default client of the deployed catalogue. */
export function testClient(overrides: Partial<CopiedClient> = {}): CopiedClient {
  return {
    name: "simulated",
    os: "linux",
    version: "1",
    image: "bitfusion-client:0.1.0",
    populate: ["/usr/bin/bitfusion", "install"],
    tokens: true,
    leases: true,
    mounts: [
      { volume: "client", path: "/bitfusion" },
      { volume: "opt", path: "/opt/bitfusion" },
      { volume: "config", path: "/etc/bitfusion/servers.conf", file: "servers.conf" },
      { volume: "config", path: "/etc/bitfusion/tls/ca.crt", file: "ca.crt" },
      { volume: "config", path: "/root/.bitfusion/client.yaml", file: "client.yaml" },
      { volume: "config", path: "/etc/bitfusion/client.yaml", file: "client.yaml" },
    ],
    binary: BINARY,
    env: [{ name: "BITFUSION_LIBRARY_PATH", value: "/bitfusion/lib" }],
    ...overrides,
  };
}

/** A client that consists of a library and an environment variable. It does not wrap commands and needs no token. */
export function libraryClient(): CopiedClient {
  const { binary: _, ...client } = testClient({
    name: "library",
    os: "library",
    tokens: false,
    leases: false,
    populate: ["/bin/cp", "-dR", "/opt/library/.", "/populate/opt/"],
    mounts: [{ volume: "opt", path: "/opt/library" }],
    libraryPath: "/opt/library/lib",
    env: [{ name: "LIBRARY_SERVER", value: "library.example:14833" }],
  });
  return client;
}

/** A client that is attached by sidecar. */
export function sidecarClient(overrides: Partial<SidecarClient> = {}): SidecarClient {
  return {
    name: "lupine",
    os: "lupine",
    version: "1",
    image: "lupine-client:1",
    sidecar: { image: "bitfusion-client:0.1.0", libraries: ["lib/libcuda.so.1", "lib/libnvidia-ml.so.1"] },
    env: [{ name: "LUPINE_SERVER", value: "127.0.0.1:{port}" }],
    ...overrides,
  };
}

/** A catalogue whose default is the first client. */
export function testCatalogue(...clients: [ClientDefinition, ...ClientDefinition[]]): Catalogue {
  return { default: clients[0].name, clients };
}

/** Frozen: a write throws. */
export const settings: InjectionSettings = deepFreeze({ catalogue: testCatalogue(testClient()) });
export const librarySettings: InjectionSettings = deepFreeze({ catalogue: testCatalogue(libraryClient()) });

export const claimSettings: InjectionSettings = deepFreeze({ ...settings, gpuMemoryMb: 16_000, allocation: "claims" });

/** Settings for a cluster with claims, whose client needs this build of the data plane lupine. */
export function dataPlaneSettings(build = "2"): InjectionSettings {
  return { ...claimSettings, catalogue: testCatalogue(testClient({ dataPlane: { name: "lupine", build } })) };
}

/** With a client that is attached by sidecar as the default. */
export const sidecarSettings: InjectionSettings = deepFreeze({
  ...claimSettings,
  catalogue: testCatalogue(sidecarClient()),
});

/** With a client that is attached by sidecar beside the default, which wraps commands. */
export const bothSettings: InjectionSettings = deepFreeze({
  ...claimSettings,
  catalogue: testCatalogue(testClient(), sidecarClient()),
});

/** A pool of one server with this many GPUs of 16 GB. */
export function poolOf(count: number, server: Partial<PoolServer> = {}): DeviceAttributes[] {
  return Array.from({ length: count }, (_, index) =>
    attributesOf(
      { address: "pool-a:56001", ...server },
      { id: `gpu-${index}`, model: "Tesla T4", memoryMb: 16_000, healthy: true },
    ),
  );
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

/** A container that requests a share. `extra` adds or replaces fields. */
export function gpu(
  extra: JsonObject = {},
  limits: Record<string, string | number> = { [NUM]: 1, [PERCENT]: 50 },
): Container {
  return { name: "train", image: "pytorch", command: ["python", "x.py"], resources: { limits }, ...extra };
}

/** A pod with the annotation. */
export function pod(
  containers: Container[],
  { spec = {}, annotations = {} }: { spec?: JsonObject; annotations?: Record<string, string> } = {},
): Pod {
  return { metadata: { name: "p", annotations: { [MODE]: "yes", ...annotations } }, spec: { ...spec, containers } };
}

/** A request to create a pod. */
export function requestOf(object: unknown, changes: Partial<AdmissionRequest> = {}): AdmissionRequest {
  const resource = { group: "", version: "v1", resource: "pods" };
  const defaults = { uid: "uid-1", name: "", namespace: "team", dryRun: false };
  return { ...defaults, resource, operation: "CREATE", object, ...changes };
}

/** The AdmissionReview that the API server sends when a pod is created. */
export function reviewOf(object: unknown, request: Record<string, unknown> = {}) {
  const resource = { group: "", version: "v1", resource: "pods" };
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: { uid: "uid-1", resource, operation: "CREATE", namespace: "team", object, ...request },
  };
}

/** Calls inject() with the mode of the pod, as mutate() does. */
export function injectAnnotated(given: Pod, using = settings): ReturnType<typeof inject> {
  const mode = readMode(given.metadata.annotations ?? {});
  return mode === "off" ? undefined : inject(deepFreeze(given), mode, using);
}

/** The pod with the patch of inject() applied. Throws if an operation fails. */
export function injected(given: Pod, using = settings): Pod {
  return patched(given, injectAnnotated(given, using)?.patch ?? []);
}

/** The pod with the patch of mutate() applied. Throws if an operation fails. */
export function mutated(given: Pod, using = settings): Pod {
  const decision = mutate(requestOf(deepFreeze(given)), using);
  return patched(given, decision.result === "patched" ? decision.patch : []);
}

export function decodePatch(text: string): Operation[] {
  return JSON.parse(Buffer.from(text, "base64").toString());
}

function patched(given: Pod, patch: readonly PatchOperation[]): Pod {
  const result = structuredClone(given);
  const [failure] = applyPatch(result, structuredClone([...patch])).filter(Boolean);
  if (failure) throw failure;
  return result;
}

/** The pod with numbers instead of the random names of its claims. */
export function withNumberedClaims(given: Pod): Pod {
  const found = [...new Set(JSON.stringify(given).match(/bitfusion-[0-9a-f-]{36}/g))];
  return JSON.parse(
    found.reduce((text, name, index) => text.replaceAll(name, `claim-${index}`), JSON.stringify(given)),
  );
}

export function names(list: readonly JsonObject[] | undefined): unknown[] {
  return (list ?? []).map(({ name }) => name);
}

/** The pod after another webhook has added a variable and a mount to each container, and appended a sidecar. */
export function meshed(given: Pod, sidecar: Container = { name: "proxy", image: "envoy" }): Pod {
  const { spec, ...rest } = structuredClone(given);
  const extend = (container: Container): Container => ({
    ...container,
    env: [...(container.env ?? []), { name: "MESH", value: "on" }],
    volumeMounts: [...(container.volumeMounts ?? []), { name: "mesh", mountPath: "/var/run/mesh" }],
  });
  const { initContainers } = spec;
  return {
    ...rest,
    spec: {
      ...spec,
      ...(initContainers ? { initContainers: initContainers.map(extend) } : {}),
      containers: [...spec.containers, sidecar].map(extend),
      volumes: [...(spec.volumes ?? []), { name: "mesh", emptyDir: {} }],
    },
  };
}

interface Downward {
  readonly items: { readonly fieldRef: object }[];
}

/** The pod with the defaults that the API server sets. */
export function defaulted(given: Pod): Pod {
  const result = structuredClone(given);
  for (const container of [...(result.spec.initContainers ?? []), ...result.spec.containers]) {
    const defaults = {
      imagePullPolicy: "IfNotPresent",
      terminationMessagePath: "/dev/termination-log",
      terminationMessagePolicy: "File",
    };
    Object.assign(container, { ...defaults, ...container });
    for (const variable of container.env ?? []) {
      const { fieldRef } = (variable as { valueFrom?: { fieldRef?: JsonObject } }).valueFrom ?? {};
      if (fieldRef) Object.assign(fieldRef, { apiVersion: "v1" });
    }
    if (container.startupProbe) Object.assign(container.startupProbe, { successThreshold: 1 });
  }
  for (const volume of result.spec.volumes ?? []) {
    const { secret, image, downwardAPI } = volume as { secret?: object; image?: object; downwardAPI?: Downward };
    if (secret) Object.assign(secret, { defaultMode: 420 });
    if (image) Object.assign(image, { pullPolicy: "IfNotPresent" });
    if (downwardAPI) Object.assign(downwardAPI, { defaultMode: 420 });
    for (const { fieldRef } of downwardAPI?.items ?? []) Object.assign(fieldRef, { apiVersion: "v1" });
  }
  return Object.assign(result.spec, { restartPolicy: "Always", dnsPolicy: "ClusterFirst" }) && result;
}

/** Fields with any JSON value, under names that inject() does not read. */
const unknownFields = fc
  .dictionary(
    fc.string({ maxLength: 4 }).map((key) => `x-${key}`),
    // unlike the API server, rfc6902 loses a key "__proto__" when it applies a patch
    fc.jsonValue({ maxDepth: 2 }).filter((value) => !JSON.stringify(value).includes("__proto__")),
    { maxKeys: 3 },
  )
  .map((fields) => JSON.parse(JSON.stringify(fields)) as JsonObject);

type Fields = Record<string, fc.Arbitrary<unknown>>;

function named(prefix: string, fields: Fields, requiredKeys: string[] = []): fc.Arbitrary<JsonObject[]> {
  const element = fc.tuple(unknownFields, fc.record(fields, { requiredKeys }));
  return fc
    .array(element, { maxLength: 3 })
    .map((list) => list.map(([extra, known], index) => ({ ...extra, ...known, name: `${prefix}${index}` })));
}

const ownVariables = named("VAR", { value: fc.string(), valueFrom: fc.constant({ fieldRef: { fieldPath: "spec" } }) });
const limits = fc.record(
  { cpu: fc.constantFrom("1", 2), [NUM]: fc.integer({ min: 1, max: 3 }), [PERCENT]: fc.integer({ min: 1, max: 100 }) },
  { requiredKeys: [] },
);
const direct = fc.record({ [UNITS]: fc.integer({ min: 1, max: 100 }) });
const requested = limits.map((list) => ({ ...list, [NUM]: list[NUM] ?? 1 }));
const resources = fc
  .tuple(unknownFields, fc.oneof(requested, direct, fc.constant({ cpu: "1" })))
  .map(([extra, list]) => ({ ...extra, limits: list }));
const fields = {
  command: fc.array(fc.string(), { minLength: 2, maxLength: 3 }),
  args: fc.array(fc.string(), { maxLength: 2 }),
  env: ownVariables,
  ports: fc.array(fc.record({ containerPort: fc.integer({ min: 14_832, max: 14_836 }) }), { maxLength: 2 }),
  resources,
  volumeMounts: named("v", {}).map((list) => list.map((mount, index) => ({ ...mount, mountPath: `/m${index}` }))),
};
const containers = named("c", fields, ["command"]);
const initContainers = named("i", fields, ["command"]);
/** Pods with everything that inject() must handle. Some request shares. */
export const annotatedPods: fc.Arbitrary<Pod> = fc
  .tuple(
    fc.tuple(unknownFields, unknownFields, unknownFields),
    fc.dictionary(fc.string(), fc.string(), { maxKeys: 2, noNullPrototype: true }),
    containers,
    fc.option(initContainers, { nil: undefined }),
    fc.option(named("v", {}), { nil: undefined }),
    fc.option(fc.record({ limits }), { nil: undefined }),
    fc.constantFrom("yes", "injection"),
  )
  .map(([[top, meta, spec], annotations, mains, inits, volumes, podResources, mode]) => ({
    ...top,
    metadata: { ...meta, annotations: { ...annotations, [MODE]: mode } },
    spec: {
      ...spec,
      containers: mains,
      ...(inits ? { initContainers: inits } : {}),
      ...(volumes ? { volumes } : {}),
      ...(podResources ? { resources: podResources } : {}),
    },
  })) as unknown as fc.Arbitrary<Pod>;
