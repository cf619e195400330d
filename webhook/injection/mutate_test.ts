import { expect, test } from "bun:test";
import { join } from "node:path";
import { type ClientDefinition, type CopiedClient, isSidecarClient, readCatalogue } from "../clients/catalogue.ts";
import type { Pod } from "../pod/pod.ts";
import type { AdmissionRequest } from "../review/review.ts";
import {
  BINARY,
  claimSettings,
  defaulted,
  FILTER,
  gpu,
  libraryClient,
  librarySettings,
  MODE,
  meshed,
  mutated,
  NUM,
  names,
  pod,
  requestOf,
  STATUS,
  settings,
  sidecarSettings,
  testCatalogue,
  UNITS,
  withNumberedClaims,
} from "../testing.ts";
import { validate } from "../validation/validate.ts";
import type { InjectionSettings } from "./injection.ts";
import { mutate } from "./mutate.ts";

const given = pod([gpu()]);

function request(changes: Partial<AdmissionRequest> = {}): AdmissionRequest {
  return requestOf(given, changes);
}

test("mutate() patches an annotated pod that is created", () => {
  expect(mutate(request(), settings)).toMatchObject({
    result: "patched",
    message: expect.stringContaining("Injected into "),
  });
});

test("mutate() reads the kind of a request without a resource", () => {
  const kind = (name: string) => ({ group: "", version: "v1", kind: name });
  expect(mutate(request({ resource: undefined, kind: kind("Pod") }), settings).result).toBe("patched");
  expect(mutate(request({ resource: undefined, kind: kind("Service") }), settings).result).toBe("allowed");
});

test.each<[description: string, changes: Partial<AdmissionRequest>]>([
  ["an update (the original does not check the operation)", { operation: "UPDATE" }],
  ["a deletion, which has no object", { operation: "DELETE", object: null }],
  ["a connection", { operation: "CONNECT", subResource: "exec" }],
  ["a subresource", { subResource: "ephemeralcontainers" }],
  ["another resource", { resource: { group: "", version: "v1", resource: "services" } }],
  ["pods of another group", { resource: { group: "metrics.k8s.io", version: "v1", resource: "pods" } }],
  ["a pod in kube-system", { namespace: "kube-system" }],
  ["a pod in kube-public", { namespace: "kube-public" }],
  ["a pod in kube-node-lease", { namespace: "kube-node-lease" }],
  ["a pod without annotations", { object: { metadata: {}, spec: { containers: [] } } }],
  ["a mirror pod", { object: pod([gpu()], { annotations: { "kubernetes.io/config.mirror": "hash" } }) }],
  ["a Windows pod", { object: pod([gpu()], { spec: { os: { name: "windows" } } }) }],
])("mutate() allows %s untouched", (_, changes) => {
  expect(mutate(request(changes), settings).result).toBe("allowed");
});

test("mutate() denies a pod with an invalid annotation", () => {
  const object = { ...given, metadata: { annotations: { "auto-management/bitfusion": "maybe" } } };
  expect(mutate(request({ object }), settings)).toEqual({
    result: "denied",
    reason: "mode",
    message: expect.stringContaining('Annotation auto-management/bitfusion is "maybe": expected one of'),
  });
});

test.each<[description: string, object: unknown, field: string]>([
  ["no object", undefined, "the document"],
  ["null", null, "the document is null"],
  ["no spec", { metadata: {} }, "spec is not set"],
  ["containers that are not a list", { metadata: {}, spec: { containers: {} } }, "spec.containers: expected "],
  [
    "a command that is text",
    { metadata: {}, spec: { containers: [{ name: "a", command: "x y" }] } },
    'spec.containers.0.command is "x y"',
  ],
  [
    "a limit that is not a quantity",
    { metadata: {}, spec: { containers: [{ name: "a", resources: { limits: { "bitfusion.io/gpu-num": true } } }] } },
    "spec.containers.0.resources.limits.bitfusion.io/gpu-num is true: expected a quantity",
  ],
  [
    "an annotation that is not text",
    { metadata: { annotations: { a: 1 } }, spec: { containers: [] } },
    "metadata.annotations.a is 1: expected string",
  ],
])("mutate() rejects a pod with %s with 400 and the field", (_, object, field) => {
  const decision = mutate(request({ object }), settings);
  expect(decision).toMatchObject({ result: "errored", code: 400 });
  expect(decision.message).toContain(`Cannot read the pod: ${field}`);
});

test.each<[description: string, object: Pod, message: string]>([
  ["without the annotation", { metadata: {}, spec: { containers: [gpu()] } }, "Not annotated"],
  ["annotated none", pod([gpu()], { annotations: { [MODE]: "none" } }), "Not annotated"],
  ["without a share", pod([{ name: "a" }]), "No container requests a share"],
  ["without containers", pod([]), "No container requests a share"],
])("mutate() leaves a pod %s alone", (_, object, message) => {
  expect(mutate(requestOf(object), settings)).toMatchObject({ result: "allowed", message });
});

test("mutate() attaches the client to init containers and sidecars that request a share, after its own", () => {
  const initContainers = [
    gpu({ name: "warm-up" }),
    { name: "plain", image: "curl" },
    gpu({ name: "server", restartPolicy: "Always" }, { [NUM]: 2 }),
  ];
  const after = mutated(pod([{ name: "main" }], { spec: { initContainers } }));
  const [, warmUp, plain, server] = after.spec.initContainers ?? [];
  expect(names(after.spec.initContainers)).toEqual(["bitfusion-client", "warm-up", "plain", "server"]);
  expect([warmUp?.command?.[0], server?.command?.[0]]).toEqual([BINARY, BINARY]);
  expect([warmUp, server].map((container) => container?.resources?.limits)).toEqual([
    { [UNITS]: "50" },
    { [UNITS]: "200" },
  ]);
  expect(server?.restartPolicy).toBe("Always");
  expect(plain).toEqual({ name: "plain", image: "curl" });
  expect(after.spec.containers).toEqual([{ name: "main" }]);
  expect(validate(requestOf(after), settings).result).toBe("allowed");
});

test("mutate() attaches a client without a program and a token, and leaves the command alone", () => {
  const bare = { name: "notebook", image: "jupyter", resources: { limits: { [NUM]: 1 } } }; // without a command
  const object = pod([gpu({ env: [{ name: "OWN", value: "x" }] }), bare]);
  const decision = mutate(requestOf(object), librarySettings);
  expect(decision).toMatchObject({ result: "patched", needs: { tokens: false } });
  const { spec } = mutated(object, librarySettings);
  const [train, notebook] = spec.containers;
  expect(train?.command).toEqual(["python", "x.py"]);
  expect(notebook).not.toHaveProperty("command");
  expect(train?.env?.slice(4)).toEqual([
    { name: "LIBRARY_SERVER", value: "library.example:14833" },
    { name: "LD_LIBRARY_PATH", value: "/opt/library/lib" },
  ]);
  expect(train?.volumeMounts).toEqual([{ name: "bitfusion-opt", mountPath: "/opt/library" }]);
  expect(spec.volumes).toEqual([{ name: "bitfusion-opt", emptyDir: {} }]);
  expect(spec.initContainers?.[0]?.volumeMounts).toEqual([{ name: "bitfusion-opt", mountPath: "/populate/opt" }]);
  expect(validate(requestOf(mutated(object, librarySettings)), librarySettings).result).toBe("allowed");
});

const deployed = await readCatalogue(join(import.meta.dir, "../deploy/clients.yaml"));

const copied = deployed.clients.filter((client): client is CopiedClient => !isSidecarClient(client));

const choosing = ({ os, version }: ClientDefinition) =>
  pod([gpu()], { annotations: { "bitfusion-client/os": os, "bitfusion-client/version": version } });

test.each(copied.map((client) => [client.name, client] as const))(
  "mutate() lets a pod choose the deployed client %s by os and version, and validate() accepts the pod",
  (_, client) => {
    const using = { catalogue: deployed };
    const after = mutated(choosing(client), using);
    const [populate] = after.spec.initContainers ?? [];
    expect(populate).toMatchObject({ name: "bitfusion-client", image: client.image, command: client.populate });
    expect(after.spec.containers[0]?.command?.[0]).toBe(client.binary ?? "python");
    expect(names(after.spec.volumes).includes("bitfusion-tokens")).toBe(client.tokens);
    expect(validate(requestOf(defaulted(after)), using)).toMatchObject({ result: "allowed", reason: "valid" });
  },
);

test("mutate() lets a pod choose the deployed client lupine, and validate() accepts the pod", () => {
  const [client, ...others] = deployed.clients.filter(isSidecarClient);
  if (!client) throw new Error("No client is attached by sidecar");
  expect([client.name, others]).toEqual(["lupine", []]);
  const using: InjectionSettings = { catalogue: deployed, allocation: "claims" };
  const after = mutated(choosing(client), using);
  expect(after.spec.containers[0]?.env).toContainEqual({ name: "LUPINE_SERVER", value: "127.0.0.1:14833" });
  expect(validate(requestOf(defaulted(after)), using)).toMatchObject({ result: "allowed", reason: "valid" });
});

test("the deployed clients fill each volume that they mount", () => {
  for (const { name, populate, mounts } of copied) {
    const command = populate.join(" ");
    // the simulated client has no files for /opt/bitfusion
    const filled = mounts.filter(({ volume }) => name !== "simulated" || volume !== "opt");
    for (const { volume } of filled) expect(command).toContain(`/populate/${volume}`);
  }
});

function warningsOf(object: Pod, using = settings): readonly string[] {
  return mutate(requestOf(object), using).warnings ?? [];
}

const OWN_LIBRARIES = [{ name: "LD_LIBRARY_PATH", value: "/own" }];

test.each<[description: string, object: Pod, using: typeof settings, warnings: string[]]>([
  [
    "an annotated pod without a share",
    pod([{ name: "a" }]),
    settings,
    [
      "Annotation auto-management/bitfusion has no effect: no container has a limit bitfusion.io/gpu-num or bitfusion.io/gpu",
    ],
  ],
  [
    "a forged status",
    pod([gpu()], { annotations: { [STATUS]: "injected" } }),
    settings,
    ["Annotation auto-management/status is set by the webhook: its value was ignored"],
  ],
  [
    "a filter for a client that does not wrap commands",
    pod([gpu({ env: OWN_LIBRARIES })], { annotations: { [FILTER]: "device.id=1" } }),
    librarySettings,
    ["Annotation bitfusion-client/filter has no effect: the client library does not wrap commands"],
  ],
  ["a filter that the client applies", pod([gpu()], { annotations: { [FILTER]: "device.id=1" } }), settings, []],
  ["an empty filter", pod([gpu({ env: OWN_LIBRARIES })], { annotations: { [FILTER]: " " } }), librarySettings, []],
  ["a pod that is not annotated", { metadata: {}, spec: { containers: [{ name: "a" }] } }, settings, []],
  ["a pod annotated none", pod([{ name: "a" }], { annotations: { [MODE]: "none" } }), settings, []],
  ["its own output", mutated(pod([gpu()])), settings, []],
  ["a container that another webhook added", meshed(mutated(pod([gpu()])), gpu({ name: "late" })), settings, []],
])("mutate() returns the expected warnings for %s", (_, object, using, warnings) => {
  expect(warningsOf(object, using)).toEqual(warnings);
});

test("mutate() truncates a warning to 120 characters, which clients print completely", () => {
  const catalogue = testCatalogue({ ...libraryClient(), name: "a".repeat(200) });
  const [, warning = ""] = warningsOf(pod([gpu()], { annotations: { [FILTER]: "device.id=1" } }), { catalogue });
  expect(warning).toHaveLength(120);
});

test("mutate() changes nothing the second time, also if another webhook has changed the pod in between", () => {
  const once = mutated(pod([gpu()], { spec: { initContainers: [gpu({ name: "warm-up" })] } }));
  for (const again of [once, defaulted(once), meshed(once), meshed(defaulted(once))]) {
    expect(mutate(requestOf(again), settings)).toMatchObject({ result: "allowed", reason: "already_injected" });
    expect(mutated(again)).toEqual(again);
    expect(validate(requestOf(again), settings)).toMatchObject({ result: "allowed", reason: "valid" });
  }
});

test("mutate() attaches the client to units set directly once, also if another webhook has changed the pod in between", () => {
  for (const using of [settings, claimSettings, librarySettings, sidecarSettings]) {
    const direct = (name: string) => gpu({ name }, { [UNITS]: 50 });
    const given = pod([direct("a"), direct("b")], { spec: { initContainers: [direct("i")] } });
    const once = mutated(given, using);
    const shares = pod([gpu({ name: "a" }), gpu({ name: "b" })], { spec: { initContainers: [gpu({ name: "i" })] } });
    expect(withNumberedClaims(once)).toEqual(withNumberedClaims(mutated(shares, using)));
    for (const again of [once, defaulted(once), meshed(once), meshed(defaulted(once))]) {
      expect(withNumberedClaims(mutated(again, using))).toEqual(withNumberedClaims(again));
      expect(validate(requestOf(again), using)).toMatchObject({ result: "allowed", reason: "valid" });
    }
    const late = mutated(meshed(once, direct("late")), using);
    expect(late.spec.containers[2]?.env).toContainEqual({ name: "BITFUSION_CONTAINER", value: "late" });
    expect(validate(requestOf(late), using)).toMatchObject({ result: "allowed", reason: "valid" });
  }
});

test("validate() refuses units whose container only pretends to be injected", () => {
  const forged = gpu({ env: [{ name: "BITFUSION_CONTAINER", value: "train" }] }, { [UNITS]: 50 });
  expect(mutated(pod([forged]))).toEqual(pod([forged]));
  expect(validate(requestOf(pod([forged])), settings)).toMatchObject({ result: "denied", reason: "injection" });
  const foreign = gpu({ env: [{ name: "BITFUSION_CONTAINER", value: "other" }] }, { [UNITS]: 50 });
  expect(mutate(requestOf(pod([foreign])), settings)).toMatchObject({ result: "denied", reason: "collision" });
});

test("mutate() attaches the client only to new containers the second time, also if others have changed", () => {
  const between = meshed(defaulted(mutated(pod([gpu()]))), gpu({ name: "late" }));
  const populate = between.spec.initContainers?.[0];
  Object.assign(populate ?? {}, { image: "mirror/client", resources: { limits: { cpu: "2" } } });
  const after = mutated(between);
  expect(after.spec.containers[1]?.command?.[0]).toBe(BINARY);
  expect(after.spec.containers[1]?.resources?.limits).toEqual({ [UNITS]: "50" });
  const { containers, ...spec } = after.spec;
  const { containers: before, ...specBefore } = between.spec;
  expect(spec).toEqual(specBefore);
  expect(containers[0]).toEqual(before[0] as (typeof before)[number]);
  expect(validate(requestOf(after), settings)).toMatchObject({ result: "allowed", reason: "valid" });
});
