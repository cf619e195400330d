import { expect, test } from "bun:test";
import fc from "fast-check";
import { parse } from "yaml";
import { formatFilter } from "../../pool/filter.ts";
import { parsePodClaims, unitsOfClaims } from "../../pool/pod_claims.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal, type RefusalReason } from "../pod/refusal.ts";
import {
  annotatedPods,
  BINARY,
  claimSettings,
  dataPlaneSettings,
  deepFreeze,
  EVICTABLE,
  gpu,
  injectAnnotated,
  injected,
  librarySettings,
  MEMORY,
  MODE,
  NUM,
  names,
  PERCENT,
  pod,
  poolOf,
  settings,
  UNITS,
  withNumberedClaims,
} from "../testing.ts";
import type { InjectionSettings } from "./injection.ts";

const withMemory: InjectionSettings = deepFreeze({ ...settings, gpuMemoryMb: 16_000 });

/** The first container after injection. */
function injectedContainer(container: Container): Container {
  const [first] = injected(pod([container])).spec.containers;
  if (!first) throw new Error("No container");
  return first;
}

test("inject() injects the example of the original", async () => {
  const job = parse(await Bun.file(`${import.meta.dir}/../../examples/job.yaml`).text());
  const example: Pod = job.spec.template;
  const { metadata, spec } = injected(example);
  expect(metadata.annotations).toEqual({
    [MODE]: "yes",
    "auto-management/status": "injected",
    [EVICTABLE]: "bitfusion-client,bitfusion-opt,bitfusion-config",
  });
  expect(names(spec.volumes)).toEqual([
    "code",
    "bitfusion-client",
    "bitfusion-opt",
    "bitfusion-config",
    "bitfusion-tokens",
  ]);
  expect(spec.volumes?.slice(1)).toMatchObject([
    { emptyDir: {} },
    { emptyDir: {} },
    { emptyDir: {} },
    { secret: { secretName: "bitfusion-secret" } },
  ]);
  const [populate, ...others] = spec.initContainers ?? [];
  expect(others).toEqual([]);
  expect(populate).toMatchObject({
    name: "bitfusion-client",
    image: "bitfusion-client:0.1.0",
    command: ["/usr/bin/bitfusion", "install"],
    resources: { requests: {}, limits: {} },
  });
  expect(spec.containers).toEqual([
    {
      ...example.spec.containers[0],
      name: "bf-pkgs",
      command: [
        BINARY,
        ...["run", "-n", "1", "-p", "1", "--", "/bin/sh", "-c"],
        "python /benchmark/scripts/tf_cnn_benchmarks/tf_cnn_benchmarks.py --local_parameter_device=gpu --batch_size=32 --model=inception3",
      ],
      env: [
        { name: "BITFUSION_CONTAINER", value: "bf-pkgs" },
        { name: "BITFUSION_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
        { name: "BITFUSION_POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
        { name: "BITFUSION_LIBRARY_PATH", value: "/bitfusion/lib" },
      ] as Container["env"],
      resources: { limits: { [UNITS]: "100" }, requests: { [UNITS]: "100" } },
      volumeMounts: [
        { name: "code", mountPath: "/benchmark" },
        { name: "bitfusion-client", mountPath: "/bitfusion" },
        { name: "bitfusion-opt", mountPath: "/opt/bitfusion" },
        { name: "bitfusion-config", mountPath: "/etc/bitfusion/servers.conf", subPath: "servers.conf" },
        { name: "bitfusion-config", mountPath: "/etc/bitfusion/tls/ca.crt", subPath: "ca.crt" },
        { name: "bitfusion-config", mountPath: "/root/.bitfusion/client.yaml", subPath: "client.yaml" },
        { name: "bitfusion-config", mountPath: "/etc/bitfusion/client.yaml", subPath: "client.yaml" },
      ],
    },
  ]);
});

test.each<[description: string, own: string, expected: string]>([
  ["without a value", "", "bitfusion-opt"],
  ["with the pod's own volumes", "cache,scratch", "cache,scratch,bitfusion-opt"],
  ["with one of its volumes already", "bitfusion-opt,cache", "bitfusion-opt,cache"],
])("inject() lets the cluster autoscaler evict the client's volumes, %s", (_, own, expected) => {
  const given = pod([gpu()], { annotations: { [EVICTABLE]: own } });
  expect(injected(given, librarySettings).metadata.annotations?.[EVICTABLE]).toBe(expected);
});

test("inject() adds an init container that meets the restricted Pod Security Standard", () => {
  const [populate] = injected(pod([gpu()])).spec.initContainers ?? [];
  expect(populate?.securityContext).toMatchObject({
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
});

test("inject() mounts only volumes of the pod, and servers.conf writable (original issues #42 and #44)", () => {
  const { spec } = injected(pod([gpu()]));
  const mounts = [...(spec.initContainers ?? []), ...spec.containers].flatMap(({ volumeMounts = [] }) => volumeMounts);
  expect(new Set(names(spec.volumes))).toEqual(new Set(names(mounts)));
  const [conf] = mounts.filter(({ mountPath }) => mountPath === "/etc/bitfusion/servers.conf");
  expect(conf?.readOnly).toBeUndefined();
});

test("inject() does nothing to its own output", () => {
  const once = injected(pod([gpu(), gpu({ name: "other" }, { [NUM]: 2 })], { spec: { initContainers: [gpu()] } }));
  expect(injectAnnotated(once)?.patch ?? []).toEqual([]);
});

test("inject() attaches the client to a container that another webhook added, and adds its volumes only once", () => {
  const before = injected(pod([gpu()]));
  const [populate] = before.spec.initContainers ?? [];
  Object.assign(populate ?? {}, { imagePullPolicy: "IfNotPresent", terminationMessagePath: "/dev/termination-log" });
  const tokens = before.spec.volumes?.find(({ name }) => name === "bitfusion-tokens");
  Object.assign(tokens?.secret ?? {}, { defaultMode: 420 });
  before.spec.containers.push(gpu({ name: "late" }));
  const after = injected(before);
  expect(names(after.spec.initContainers)).toEqual(["bitfusion-client"]);
  expect(names(after.spec.volumes)).toEqual(names(before.spec.volumes));
  expect(after.spec.containers[0]).toEqual(before.spec.containers[0] as Container);
  expect(after.spec.containers[1]?.command?.[0]).toBe(BINARY);
  expect(after.spec.containers[1]?.resources?.limits).toEqual({ [UNITS]: "50" });
});

test("inject() ignores auto-management/status, which users can forge", () => {
  const forged = pod([gpu()], { annotations: { "auto-management/status": "injected" } });
  expect(injected(forged).spec.containers[0]?.command?.[0]).toBe(BINARY);
});

test("inject() keeps the pod's init containers, after its own, unlike the original (issue #54)", () => {
  const own = [
    { name: "download", image: "curl", args: ["x"] },
    { name: "proxy", image: "envoy", restartPolicy: "Always" },
  ];
  const { initContainers } = injected(pod([gpu()], { spec: { initContainers: own } })).spec;
  expect(names(initContainers)).toEqual(["bitfusion-client", "download", "proxy"]);
  expect(initContainers?.slice(1)).toEqual(own);
});

test("inject() leaves containers of the user's own alone that are called populate, as its own was once", () => {
  const populate = { name: "populate", image: "mine", command: ["load-data"] };
  const { initContainers } = injected(pod([gpu()], { spec: { initContainers: [populate] } })).spec;
  expect(names(initContainers)).toEqual(["bitfusion-client", "populate"]);
  expect(initContainers?.[1]).toEqual(populate);
  const { spec } = injected(pod([gpu(), populate]));
  expect([names(spec.initContainers), names(spec.containers)]).toEqual([["bitfusion-client"], ["train", "populate"]]);
});

test("inject() recognizes the init container of a pod that an earlier version has injected", () => {
  const before = injected(pod([gpu()]));
  Object.assign(before.spec.initContainers?.[0] ?? {}, { name: "populate" });
  before.spec.containers.push(gpu({ name: "late" }));
  expect(names(injected(before).spec.initContainers)).toEqual(["populate"]);
});

test("inject() attaches the client to an init container that requests a share", () => {
  const { initContainers } = injected(
    pod([{ name: "main" }], { spec: { initContainers: [{ name: "first" }, gpu({ name: "warm-up" })] } }),
  ).spec;
  expect(names(initContainers)).toEqual(["bitfusion-client", "first", "warm-up"]);
  expect(initContainers?.[1]).toEqual({ name: "first" });
  expect(initContainers?.[2]?.resources).toEqual({ limits: { [UNITS]: "50" }, requests: { [UNITS]: "50" } });
});

test("inject() keeps the user's annotations, unlike the original", () => {
  const annotations = { "prometheus.io/scrape": "true", "a/b~c": "" };
  expect(injected(pod([gpu()], { annotations })).metadata.annotations).toMatchObject({
    ...annotations,
    [MODE]: "yes",
    "auto-management/status": "injected",
  });
});

test("inject() keeps variables with valueFrom, unlike the original (issue #35)", () => {
  const env = [
    { name: "TOKEN", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
    { name: "MODE", value: "train" },
  ];
  expect(injectedContainer(gpu({ env })).env?.slice(0, 2)).toEqual(env);
});

test.each<[description: string, own: JsonObject, expected: JsonObject[]]>([
  [
    "a value",
    { name: "LD_LIBRARY_PATH", value: "/own" },
    [{ name: "LD_LIBRARY_PATH", value: "/opt/library/lib:/own" }],
  ],
  [
    "a reference",
    { name: "LD_LIBRARY_PATH", valueFrom: { configMapKeyRef: { name: "c", key: "k" } } },
    [
      { name: "BITFUSION_OWN_LD_LIBRARY_PATH", valueFrom: { configMapKeyRef: { name: "c", key: "k" } } },
      { name: "LD_LIBRARY_PATH", value: "/opt/library/lib:$(BITFUSION_OWN_LD_LIBRARY_PATH)" },
    ],
  ],
])("inject() keeps the container's own LD_LIBRARY_PATH, %s, after the client's", (_, own, expected) => {
  const given = pod([gpu({ env: [own] })]);
  const { env } = injected(given, librarySettings).spec.containers[0] ?? {};
  expect(env?.filter(({ name }) => name.includes("LD_LIBRARY_PATH"))).toEqual(expected as Container["env"] & {});
  expect(injectAnnotated(given, librarySettings)?.warnings).toEqual([]);
});

test("inject() leaves LD_LIBRARY_PATH alone for a client that extends it in the container", () => {
  const env = [{ name: "LD_LIBRARY_PATH", value: "/own" }];
  expect(injectedContainer(gpu({ env })).env?.filter(({ name }) => name === "LD_LIBRARY_PATH")).toEqual(env);
  expect(injectAnnotated(pod([gpu()]))?.warnings).toEqual([]);
});

test("inject() warns that a client replaces the LD_LIBRARY_PATH of the image or of envFrom", () => {
  const env = [{ name: "LD_LIBRARY_PATH", value: "/own" }];
  const given = pod([gpu({ name: "a" }), gpu({ name: "b", env }), gpu({ name: "c".repeat(63) })]);
  const [warning, ...others] = injectAnnotated(given, librarySettings)?.warnings ?? [];
  expect(warning).toStartWith(
    "LD_LIBRARY_PATH of the image or of envFrom is replaced: to keep it, set it in env of a, ccc",
  );
  expect(warning?.length).toBeLessThanOrEqual(120);
  expect(others).toEqual([]);
});

test("inject() patches two GPU containers independently, unlike the original (issue #50)", () => {
  const two = pod([gpu({ name: "a" }), gpu({ name: "b" }, { [NUM]: 2, [PERCENT]: 25 })]);
  const [a, b] = injected(two).spec.containers;
  expect(a?.resources).toEqual({ limits: { [UNITS]: "50" }, requests: { [UNITS]: "50" } });
  expect(b?.resources).toEqual({ limits: { [UNITS]: "50" }, requests: { [UNITS]: "50" } });
  expect(a?.command).toEqual([BINARY, "run", "-n", "1", "-p", "0.5", "--", "python", "x.py"]);
  expect(b?.command).toEqual([BINARY, "run", "-n", "2", "-p", "0.25", "--", "python", "x.py"]);
  expect(b?.env).toContainEqual({ name: "BITFUSION_CONTAINER", value: "b" });
});

test("inject() leaves a sidecar with a command and no GPU alone, unlike the original, which refuses it", () => {
  const sidecar = {
    name: "logs",
    command: ["tail", "-F", "/log"],
    resources: { limits: { cpu: "1" } },
    env: [{ name: "LD_LIBRARY_PATH", value: "/x" }],
  };
  expect(injected(pod([sidecar, gpu()])).spec.containers[0]).toEqual(sidecar);
});

test("inject() handles containers without limits, on which the original panics", () => {
  const without: Container[] = [
    { name: "a" },
    { name: "b", resources: {} },
    { name: "c", resources: { requests: {} } },
  ];
  expect(injected(pod([...without, gpu()])).spec.containers.slice(0, 3)).toEqual(without);
  const { resources } = injectedContainer(gpu({ resources: { requests: { cpu: "1", [NUM]: 1 } } }));
  expect(resources).toEqual({ limits: { [UNITS]: "100" }, requests: { cpu: "1", [UNITS]: "100" } });
});

test("inject() does not carry the mode over to the next pod, unlike the original", () => {
  const results = ["yes", "injection", "none", "yes"].map((mode) => {
    const [container] = injected(pod([gpu()], { annotations: { [MODE]: mode } })).spec.containers;
    return [container?.command?.[0], container?.volumeMounts?.length ?? 0];
  });
  expect(results).toEqual([
    [BINARY, 6],
    ["python", 6],
    ["python", 0],
    [BINARY, 6],
  ]);
});

test("inject() does not change shared settings, unlike the original", () => {
  const [one, other] = [pod([gpu({ name: "a" })]), pod([gpu({ name: "b" }), gpu({ name: "c" })])];
  const before = JSON.stringify(injectAnnotated(one)); // the settings are frozen, too
  injectAnnotated(other);
  expect(JSON.stringify(injectAnnotated(one))).toBe(before);
});

test("inject() keeps unknown fields everywhere", () => {
  const extra = { future: { deep: [1, null, { x: true }] } };
  const given = {
    ...extra,
    apiVersion: "v1",
    metadata: { ...extra, creationTimestamp: null, annotations: { [MODE]: "yes" }, labels: { a: "b" } },
    spec: {
      ...extra,
      tolerations: [{ operator: "Exists" }, { key: "gpu" }],
      containers: [
        gpu({
          ...extra,
          resizePolicy: [{ resourceName: "cpu", restartPolicy: "NotRequired" }],
          resources: { ...extra, claims: [{ name: "c" }], limits: { cpu: 1, [NUM]: 1 } },
        }),
      ],
      volumes: [{ ...extra, name: "v" }],
    },
  } as unknown as Pod;
  const after = injected(given);
  expect(after).toMatchObject({ ...extra, apiVersion: "v1" } as object);
  expect(after.metadata).toMatchObject({ ...extra, creationTimestamp: null, labels: { a: "b" } });
  expect(after.spec).toMatchObject({ ...extra, tolerations: [{ operator: "Exists" }, { key: "gpu" }] });
  expect(after.spec.volumes?.[0]).toEqual({ ...extra, name: "v" });
  const [container] = after.spec.containers;
  expect(container).toMatchObject(extra);
  expect(container?.resizePolicy).toEqual([{ resourceName: "cpu", restartPolicy: "NotRequired" }]);
  expect(container?.resources).toEqual({
    ...extra,
    claims: [{ name: "c" }],
    limits: { cpu: 1, [UNITS]: "100" },
    requests: { [UNITS]: "100" },
  } as Container["resources"]);
});

test("inject() passes the pod's filters to the client", () => {
  const annotations = { "bitfusion-client/filter": "  server.addr=10.0.0.1\n device.name=$(id) " };
  const [container] = injected(pod([gpu()], { annotations })).spec.containers;
  expect(container?.command?.slice(6, 11)).toEqual([
    "--filter",
    "server.addr=10.0.0.1",
    "--filter",
    "device.name=$(id)",
    "--",
  ]);
});

test("inject() leaves the command alone in mode injection, and does not require one", () => {
  const annotations = { [MODE]: "injection" };
  const bare: Container = { name: "notebook", args: ["lab"], resources: { limits: { [NUM]: 1 } } };
  const [first, second] = injected(pod([bare, gpu()], { annotations })).spec.containers;
  expect(first).not.toHaveProperty("command");
  expect(second?.command).toEqual(["python", "x.py"]);
  expect(first?.volumeMounts).toHaveLength(6);
  expect(first?.resources?.limits).toEqual({ [UNITS]: "100" });
});

test.each<[description: string, given: Pod]>([
  ["without a share", pod([{ name: "a" }])],
  ["without containers", pod([])],
])("inject() leaves a pod %s alone", (_, given) => {
  expect(injectAnnotated(given)?.patch ?? []).toEqual([]);
});

test.each<[memory: string, num: number, units: string]>([
  ["1120M", 1, "7"], // 8 with floating-point numbers
  ["4480M", 1, "28"],
  ["8800M", 1, "55"],
  ["8801M", 1, "56"],
  ["1", 1, "1"],
  ["16G", 2, "200"],
  ["1010M", 2, "14"], // each GPU gives whole units
  ["1M", 8, "8"],
])("inject() converts %s of 16000 MB on %d GPUs to %s units", (memory, num, units) => {
  const [container] = injected(pod([gpu({}, { [NUM]: num, [MEMORY]: memory })]), withMemory).spec.containers;
  expect(container?.resources).toEqual({ limits: { [UNITS]: units }, requests: { [UNITS]: units } });
  expect(container?.command).toContain("-m");
});

/** The refusal that inject() throws. Undefined if it throws none. */
function refusalOf(given: Pod, using = settings): Pick<Refusal, "reason" | "message"> | undefined {
  try {
    injectAnnotated(given, using);
    return undefined;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { reason: error.reason, message: error.message };
  }
}

const TAKEN = "of this name, expected another name";

test.each<[description: string, given: Pod, reason: RefusalReason, message: string]>([
  [
    "an unknown mode",
    pod([gpu()], { annotations: { [MODE]: "maybe" } }),
    "mode",
    `Annotation ${MODE} is "maybe": expected one of all, on, true, y, yes, injection, n, no, none, off, false`,
  ],
  [
    "an unknown client",
    pod([gpu()], { annotations: { "bitfusion-client/os": "centos9", "bitfusion-client/version": "1" } }),
    "client",
    'No client has bitfusion-client/os "centos9" and bitfusion-client/version "1": expected one of linux 1',
  ],
  [
    "a container without a command",
    pod([gpu({ command: [] })]),
    "command",
    'Container "train": command is not set: set it to what the container runs, since the entrypoint of the image is unknown here',
  ],
  [
    "an invalid share in the second container",
    pod([gpu(), gpu({ name: "other" }, { [NUM]: 1, [PERCENT]: 101 })]),
    "share",
    `Container "other": limits["${PERCENT}"] is "101": expected a whole number from 1 to 100`,
  ],
  [
    "a memory share if the memory of the GPUs is not configured",
    pod([gpu({}, { [NUM]: 1, [MEMORY]: "8G" })]),
    "share",
    `Container "train": limits["${MEMORY}"] is 8000 MB: the memory of the pool's GPUs is not configured, use ${PERCENT}`,
  ],
  [
    "units that differ from the share",
    pod([gpu({}, { [NUM]: 1, [PERCENT]: 50, [UNITS]: 20 })]),
    "share",
    `Container "train": limits["${UNITS}"] is "20", but its share is 50 units: expected 50, or leave it out`,
  ],
  [
    "a volume with the name of a client volume",
    pod([gpu()], { spec: { volumes: [{ name: "bitfusion-config", hostPath: { path: "/etc" } }] } }),
    "collision",
    `Volume "bitfusion-config": the webhook adds a volume ${TAKEN}`,
  ],
  [
    "an init container with the name of the client's",
    pod([gpu()], { spec: { initContainers: [{ name: "bitfusion-client", image: "mine" }] } }),
    "collision",
    `Init container "bitfusion-client": the webhook adds an init container ${TAKEN}`,
  ],
  [
    "a container with the name of the client's",
    pod([gpu(), { name: "bitfusion-client" }]),
    "collision",
    `Container "bitfusion-client": the webhook adds an init container ${TAKEN}`,
  ],
  [
    "a GPU container with the name of the client's",
    pod([gpu({ name: "bitfusion-client" })]),
    "collision",
    `Container "bitfusion-client": the webhook adds an init container ${TAKEN}`,
  ],
  [
    "an ephemeral container with the name of the client's, as in a copy of a pod that was debugged",
    pod([gpu()], { spec: { ephemeralContainers: [{ name: "bitfusion-client" }] } }),
    "collision",
    `Ephemeral container "bitfusion-client": the webhook adds an init container ${TAKEN}`,
  ],
  [
    "a variable with the name of a client variable",
    pod([gpu({ env: [{ name: "BITFUSION_POD", value: "me" }] })]),
    "collision",
    `Variable "BITFUSION_POD": the webhook adds a variable ${TAKEN}`,
  ],
])("inject() refuses %s", (_, given, reason, message) => {
  expect(refusalOf(given)).toEqual({ reason, message });
});

test.each<[description: string, limits: Record<string, string | number>]>([
  ["percent", { [NUM]: 2, [PERCENT]: 7, [UNITS]: "14" }],
  ["percent of one GPU, without a number", { [PERCENT]: 7, [UNITS]: "7" }],
  ["memory", { [NUM]: 2, [MEMORY]: "1010M", [UNITS]: 14 }],
  ["memory of one GPU, without a number", { [MEMORY]: "1010M", [UNITS]: 7 }],
])("inject() accepts units that agree with %s, and refuses others", (_, limits) => {
  const { [UNITS]: units, ...share } = limits;
  const expected = injected(pod([gpu({}, { [NUM]: 1, ...share })]), withMemory);
  expect(injected(pod([gpu({}, limits)]), withMemory)).toEqual(expected);
  expect(refusalOf(pod([gpu({}, { ...limits, [UNITS]: 13 })]), withMemory)).toEqual({
    reason: "share",
    message: `Container "train": limits["${UNITS}"] is "13", but its share is ${units} units: expected ${units}, or leave it out`,
  });
});

test("inject() refuses more memory than a GPU has", () => {
  expect(refusalOf(pod([gpu({}, { [NUM]: 1, [MEMORY]: "16001M" })]), withMemory)).toEqual({
    reason: "share",
    message: `Container "train": limits["${MEMORY}"] is 16001 MB: expected at most 16000 MB, the memory of one GPU`,
  });
});

/** What an injected pod tells the controller about its claims. */
const claimsIn = ({ metadata }: Pod) => parsePodClaims(metadata.annotations?.["bitfusion.io/claims"] ?? "[]");

test("inject() with claims names a claim for each GPU container, in addition to the units", () => {
  const given = pod([gpu({ name: "a" }), gpu({ name: "b" }), { name: "c" }], {
    spec: { initContainers: [gpu({ name: "i" }, { [NUM]: 2, [PERCENT]: 10 })] },
  });
  const result = injected(given, claimSettings);
  const claims = claimsIn(result);
  expect(claims.map(({ containers, share }) => [containers, share])).toEqual([
    [["a"], { gpus: 1, percent: 50 }],
    [["b"], { gpus: 1, percent: 50 }],
    [["i"], { gpus: 2, percent: 10 }],
  ]);
  const { spec } = result;
  expect(spec.resourceClaims).toEqual(
    ["a", "b", "i"].map((container, index) => ({
      name: `bitfusion-${container}`,
      resourceClaimName: claims[index]?.name as string,
    })),
  );
  const [a, , c] = spec.containers;
  expect(a?.resources).toEqual({
    limits: { [UNITS]: "50" },
    requests: { [UNITS]: "50" },
    claims: [{ name: "bitfusion-a" }],
  });
  expect(a?.env).toContainEqual({ name: "BITFUSION_ALLOCATION", value: "claims" });
  expect(c).toEqual({ name: "c" });
});

test("inject() with claims lets an init container use the claim of an app container with the same share", () => {
  const given = pod([gpu({ name: "a" })], { spec: { initContainers: [gpu({ name: "i" })] } });
  const { spec } = injected(given, claimSettings);
  expect(spec.resourceClaims).toHaveLength(1);
  for (const name of ["a", "i"]) {
    const container = [...(spec.initContainers ?? []), ...spec.containers].find((each) => each.name === name);
    expect(container?.resources?.claims).toEqual([{ name: "bitfusion-a" }]);
  }
});

test("inject() with claims counts as many units as the claim takes", () => {
  const amounts = { [NUM]: fc.integer({ min: 1, max: 32 }), [MEMORY]: fc.integer({ min: 1, max: 16_000_000_000 }) };
  fc.assert(
    fc.property(fc.record(amounts), fc.integer({ min: 16_000, max: 80_000 }), (limits, gpuMemoryMb) => {
      const result = injected(pod([gpu({}, limits)]), { ...claimSettings, gpuMemoryMb });
      const taken = unitsOfClaims(claimsIn(result));
      expect(result.spec.containers[0]?.resources?.limits?.[UNITS]).toBe(String(taken));
    }),
  );
});

test("inject() says what an injected pod needs, which may be new in its namespace", () => {
  const given = pod([gpu({ name: "a" }), { name: "c" }]);
  expect(injectAnnotated(injected(given), settings)).toEqual({
    patch: [],
    containers: ["a"],
    needs: { tokens: true },
    warnings: [],
  });
  expect(injectAnnotated(injected(given, claimSettings), claimSettings)?.needs).toEqual({ tokens: false });
  expect(injectAnnotated(injected(given, librarySettings), librarySettings)?.needs).toEqual({ tokens: false });
});

test("inject() with claims changes only the names of the claims in its own output", () => {
  const first = injected(pod([gpu(), { name: "x" }]), claimSettings);
  const second = injected(first, claimSettings);
  const [before, after] = [claimsIn(first), claimsIn(second)];
  expect(after[0]?.name).not.toBe(before[0]?.name);
  expect(withNumberedClaims(second)).toEqual(withNumberedClaims(first));
});

test("inject() with claims replaces nodeName, with which the scheduler would ignore the pod", () => {
  const given = pod([gpu()], { spec: { nodeName: "worker" } });
  for (const each of [given, { ...injected(pod([gpu()]), claimSettings) }]) {
    const { metadata, spec } = each;
    const bound = { metadata, spec: { ...spec, nodeName: "worker" } };
    const after = injected(bound, claimSettings).spec;
    expect(after.nodeName).toBe("");
    expect(after.affinity).toEqual({
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["worker"] }] }],
        },
      },
    });
    expect(injectAnnotated(bound, claimSettings)?.warnings).toEqual([
      "nodeName is replaced by node affinity: with it, the scheduler would give the pod no GPU",
    ]);
  }
  expect(injected(given, settings).spec.nodeName).toBe("worker");
});

test("inject() with claims keeps the pod's own claims, and refuses one with the name of its own", () => {
  const own = { name: "nic", resourceClaimName: "nic-1" };
  const container = gpu({ name: "a" });
  Object.assign(container.resources ?? {}, { claims: [{ name: "nic" }] });
  const { spec } = injected(pod([container], { spec: { resourceClaims: [own] } }), claimSettings);
  expect(spec.resourceClaims?.[0]).toEqual(own);
  expect(spec.containers[0]?.resources?.claims).toEqual([{ name: "nic" }, { name: "bitfusion-a" }]);
  const taken = pod([gpu({ name: "a" })], { spec: { resourceClaims: [{ name: "bitfusion-a" }] } });
  expect(() => injected(taken, claimSettings)).toThrow(
    'Resource claim "bitfusion-a": the webhook adds a resource claim of this name',
  );
});

test("inject() with claims passes filters to the scheduler, and refuses those that it cannot apply", () => {
  const filtered = (filter: string) => pod([gpu()], { annotations: { "bitfusion-client/filter": filter } });
  const [claim] = claimsIn(injected(filtered("server.addr=a:1 device.name=T4"), claimSettings));
  expect(claim?.filters).toEqual([
    { key: "server.addr", value: "a:1" },
    { key: "device.name", value: "T4" },
  ]);
  for (const filter of ["server.cuda=11", "server.addr", "toString=1"]) {
    const injectFiltered = () => injected(filtered(filter), claimSettings);
    expect(injectFiltered).toThrow(
      `has "${filter}": expected key=value with one of the keys server.addr, server.hostname`,
    );
  }
});

test("inject() with claims refuses filters that no claim can have", () => {
  const filtered = (filters: string[]) =>
    pod([gpu()], { annotations: { "bitfusion-client/filter": filters.join(" ") } });
  const many = (count: number) => Array.from({ length: count }, (_, index) => `device.id=${index}`);
  const long = (length: number) => `device.id=${"x".repeat(length - "device.id=".length)}`;
  expect(refusalOf(filtered(many(31)), claimSettings)).toBeUndefined();
  expect(refusalOf(filtered(many(32)), claimSettings)).toEqual({
    reason: "filter",
    message:
      "Annotation bitfusion-client/filter has 32 filters: expected at most 31, the limit of a ResourceClaim of Kubernetes",
  });
  expect(refusalOf(filtered(many(32)))).toBeUndefined(); // without claims
  expect(refusalOf(filtered([long(512)]), claimSettings)).toBeUndefined();
  expect(refusalOf(filtered([long(513)]), claimSettings)).toMatchObject({
    reason: "filter",
    message: expect.stringContaining("(515 characters): expected at most 512 characters"),
  });
});

test("inject() with claims selects GPUs of servers with the data plane that the client needs", () => {
  const annotations = { "bitfusion-client/filter": "device.name=T4" };
  const [claim] = claimsIn(injected(pod([gpu()], { annotations }), dataPlaneSettings("2")));
  expect(claim?.filters.map(formatFilter)).toEqual([
    "device.name=T4",
    "server.data-plane=lupine",
    "server.data-plane-build=2",
  ]);
  const many = Array.from({ length: 30 }, (_, index) => `device.id=${index}`).join(" ");
  const given = pod([gpu()], { annotations: { "bitfusion-client/filter": many } });
  expect(refusalOf(given, dataPlaneSettings())?.message).toBe(
    "Annotation bitfusion-client/filter has 30 filters: expected at most 29, the limit of a ResourceClaim of Kubernetes, beside 2 of the client simulated",
  );
});

test("inject() with claims refuses more GPUs than a claim can hold", () => {
  const sharing = (count: number) => pod([gpu({ name: "a" }, { "bitfusion.io/gpu-amount": count, [PERCENT]: 10 })]);
  expect(refusalOf(sharing(32), claimSettings)).toBeUndefined();
  expect(refusalOf(sharing(33), claimSettings)).toEqual({
    reason: "capacity",
    message:
      'Container "a" requests 10 % of each of 33 different GPUs: expected at most 32 GPUs, the limit of a ResourceClaim of Kubernetes',
  });
  expect(refusalOf(sharing(33))).toBeUndefined(); // without claims
});

test.each<[description: string, limits: Record<string, string | number>, filter: string, message: string | undefined]>([
  ["more different GPUs than the pool has", { [NUM]: 3, [PERCENT]: 10 }, "", "10 % of each of 3 different GPUs, but"],
  ["a model that the pool does not have", { [NUM]: 1 }, "device.name=A100", "100 % of one GPU that matches"],
  [
    "memory of GPUs that are smaller",
    { [NUM]: 2, [MEMORY]: "16001M" },
    "",
    "16001 MB of each of 2 different GPUs, but",
  ],
  ["all GPUs of the pool", { [NUM]: 2 }, "device.name=Tesla server.rack=7", undefined],
])("inject() without claims decides about %s: a server could never lease more", (_, limits, filter, message) => {
  const annotations: Record<string, string> = filter ? { "bitfusion-client/filter": filter } : {};
  const given = pod([gpu({ name: "a" }, limits)], { annotations });
  const pool = poolOf(2).map((attributes) => ({ ...attributes, model: "Tesla" }));
  const using = { ...settings, gpuMemoryMb: 32_000 };
  expect(refusalOf(given, { ...using, pool })?.message).toEqual(
    message &&
      expect.stringMatching(new RegExp(`Container "a" requests ${message}.*the whole pool has [02] that can give it`)),
  );
  expect(refusalOf(given, using)).toBeUndefined(); // the pool is unknown
});

test("inject() takes less than 2 s for a pod of 100 containers with 1,000 variables each", () => {
  const env = Array.from({ length: 1000 }, (_, index) => ({ name: `V${index}`, value: "x" }));
  const large = pod(Array.from({ length: 100 }, (_, index) => gpu({ name: `c${index}`, env })));
  const start = performance.now();
  injectAnnotated(large);
  expect(performance.now() - start).toBeLessThan(2000); // takes 0.3 s; a cubic comparison takes minutes
});

/** The pod without what injection adds, and without shares and units: units cannot be converted back to shares. */
function withoutInjection(given: Pod): unknown {
  const isInjected = (name: unknown) => /^(bitfusion-|BITFUSION_|LD_LIBRARY_PATH)/.test(String(name));
  const rest = (list: readonly JsonObject[] | undefined) => list?.filter(({ name }) => !isInjected(name));
  const strip = ({ resources: { limits: list, requests, ...kept } = {}, ...container }: Container) => ({
    ...container,
    command: unwrapped(container.command ?? []),
    env: rest(container.env) ?? [],
    volumeMounts: rest(container.volumeMounts) ?? [],
    resources: { ...kept, limits: withoutShares(list), requests: withoutShares(requests) },
  });
  const { containers, initContainers, volumes, ...spec } = given.spec;
  const { "auto-management/status": _, [EVICTABLE]: __, ...annotations } = given.metadata.annotations ?? {};
  return {
    ...given,
    metadata: { ...given.metadata, annotations },
    spec: {
      ...spec,
      containers: containers.map(strip),
      initContainers: (rest(initContainers) ?? []).map((container) => strip(container as Container)),
      volumes: rest(volumes) ?? [],
    },
  };
}

function unwrapped(command: readonly string[]): readonly string[] {
  return command[0] === BINARY ? command.slice(command.indexOf("--") + 1) : command;
}

function withoutShares(list: Readonly<Record<string, unknown>> = {}): unknown {
  return Object.fromEntries(Object.entries(list).filter(([key]) => !key.startsWith("bitfusion.io/")));
}

test("inject() only adds to the pod, and does nothing the second time", () => {
  let changed = 0;
  fc.assert(
    fc.property(annotatedPods, (given) => {
      const after = injected(given);
      if (injectAnnotated(given)) changed++;
      expect(withoutInjection(after)).toEqual(withoutInjection(given));
      expect(injectAnnotated(after)?.patch ?? []).toEqual([]);
    }),
  );
  expect(changed).toBeGreaterThan(10); // otherwise the generated pods are too simple for this test
});

test("inject() with claims gives the pod nothing of the pool's token: the driver takes its leases", () => {
  const after = injected(pod([gpu()]), claimSettings);
  expect(JSON.stringify(after)).not.toContain("bitfusion-secret");
  expect(after.spec.volumes?.map(({ name }) => name)).not.toContain("bitfusion-config");
  expect(JSON.stringify(after.spec.containers)).not.toContain("client.yaml");
});
