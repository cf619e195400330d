import { expect, test } from "bun:test";
import fc from "fast-check";
import { parsePodClaims } from "../../../pool/pod_claims.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import { type Container, containersOf, type Pod } from "../../pod/pod.ts";
import {
  annotatedPods,
  bothSettings,
  deepFreeze,
  defaulted,
  gpu,
  injectAnnotated,
  injected,
  MODE,
  meshed,
  mutated,
  NUM,
  names,
  pod,
  requestOf,
  sidecarClient,
  sidecarSettings,
  testCatalogue,
  UNITS,
  withNumberedClaims,
} from "../../testing.ts";
import { validate } from "../../validation/validate.ts";

const CLIENT_MOUNTS = [
  { name: "bitfusion-client", mountPath: "/bitfusion", readOnly: true },
  { name: "bitfusion-preload", mountPath: "/etc/ld.so.preload", subPath: "ld.so.preload", readOnly: true },
];

/** A container as charts have it, without a command. */
const server: Container = { name: "server", image: "vllm", args: ["--model=x"], resources: { limits: { [NUM]: 1 } } };

/** The sidecar of a pod after injection. */
function sidecarOf(given: Pod, using = sidecarSettings): Container {
  const [sidecar] = injected(given, using).spec.initContainers ?? [];
  if (sidecar?.name !== "bitfusion-forward") throw new Error("No sidecar");
  return sidecar;
}

test("inject() attaches a container without a command by sidecar, and changes nothing that runs in it", () => {
  const given = pod([{ ...server, env: [{ name: "LD_LIBRARY_PATH", value: "/own" }], workingDir: "/w" }]);
  const after = injected(given, sidecarSettings);
  const [claim] = parsePodClaims(after.metadata.annotations?.["bitfusion.io/claims"] ?? "");
  expect(claim).toMatchObject({ containers: ["server"], client: "lupine", oneServer: true });
  expect(after.metadata.annotations).toMatchObject({
    "bitfusion.io/preload": "/bitfusion/lib/libcuda.so.1 /bitfusion/lib/libnvidia-ml.so.1",
  });
  expect(after.spec).toEqual({
    resourceClaims: [{ name: "bitfusion-server", resourceClaimName: claim?.name ?? "" }],
    volumes: [
      { name: "bitfusion-client", image: { reference: "lupine-client:1" } },
      {
        name: "bitfusion-preload",
        downwardAPI: {
          items: [{ path: "ld.so.preload", fieldRef: { fieldPath: "metadata.annotations['bitfusion.io/preload']" } }],
        },
      },
    ],
    initContainers: [
      {
        name: "bitfusion-forward",
        image: "bitfusion-client:0.1.0",
        restartPolicy: "Always",
        command: ["/usr/bin/bitfusion", "forward", "--container", "server=14833"],
        startupProbe: expect.objectContaining({
          exec: { command: ["/usr/bin/bitfusion", "forward", "--probe", "14833"] },
        }),
        securityContext: expect.anything(),
        terminationMessagePolicy: "FallbackToLogsOnError",
        resources: { requests: {}, limits: {}, claims: [{ name: "bitfusion-server" }] },
      },
    ],
    containers: [
      {
        ...server,
        workingDir: "/w",
        env: [
          { name: "LD_LIBRARY_PATH", value: "/own" },
          { name: "BITFUSION_CONTAINER", value: "server" },
          { name: "LUPINE_SERVER", value: "127.0.0.1:14833" },
        ],
        resources: {
          limits: { [UNITS]: "100" },
          requests: { [UNITS]: "100" },
          claims: [{ name: "bitfusion-server" }],
        },
        volumeMounts: CLIENT_MOUNTS,
      },
    ],
  });
});

test("inject() adds a sidecar that meets the restricted Pod Security Standard, as the pod's other parts do", () => {
  expect(sidecarOf(pod([server])).securityContext).toMatchObject({
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
  for (const volume of injected(pod([server]), sidecarSettings).spec.volumes ?? []) {
    const [source] = Object.keys(volume).filter((key) => key !== "name");
    expect(["image", "downwardAPI"]).toContain(source ?? "");
  }
});

test("inject() gives each GPU container a port of one sidecar, init containers first, in front of all others", () => {
  const given = pod([server, { name: "plain" }, gpu({ name: "eval" }, { [NUM]: 2 })], {
    spec: { initContainers: [{ name: "mesh", restartPolicy: "Always" }, gpu({ name: "warm-up" }, { [NUM]: 3 })] },
  });
  const { initContainers, containers, resourceClaims } = injected(given, sidecarSettings).spec;
  expect(names(initContainers)).toEqual(["bitfusion-forward", "mesh", "warm-up"]);
  expect(initContainers?.[0]?.command?.slice(2)).toEqual([
    "--container",
    "warm-up=14833",
    "--container",
    "server=14834",
    "--container",
    "eval=14835",
  ]);
  expect(initContainers?.[0]?.startupProbe).toMatchObject({
    exec: { command: ["/usr/bin/bitfusion", "forward", "--probe", "14835"] }, // it opens this port last
  });
  expect(initContainers?.[0]?.resources?.claims).toEqual((resourceClaims ?? []).map(({ name }) => ({ name })));
  expect(resourceClaims).toHaveLength(3);
  const valueIn = (container?: Container) => container?.env?.find(({ name }) => name === "LUPINE_SERVER")?.value;
  expect([initContainers?.[2], containers[0], containers[2]].map(valueIn)).toEqual([
    "127.0.0.1:14833",
    "127.0.0.1:14834",
    "127.0.0.1:14835",
  ]);
  expect([initContainers?.[1], containers[1]]).toEqual([{ name: "mesh", restartPolicy: "Always" }, { name: "plain" }]);
  expect(containers[2]?.command).toEqual(["python", "x.py"]);
});

test("inject() names a claim once in the sidecar that an init container and an app container share", () => {
  const given = pod([gpu({ name: "a" })], { spec: { initContainers: [gpu({ name: "i" })] } });
  expect(sidecarOf(given).resources?.claims).toEqual([{ name: "bitfusion-a" }]);
});

test("inject() leaves out ports that a container of the pod declares", () => {
  const ports = (...list: number[]) => ({ ports: list.map((containerPort) => ({ containerPort })) });
  const given = pod([{ ...server, ...ports(8080, 14834) }, gpu({ name: "b" }), { name: "c", ...ports(14833) }]);
  expect(sidecarOf(given).command).toEqual(expect.arrayContaining(["server=14835", "b=14836"]));
});

test("inject() attaches all GPU containers by sidecar if one has no command and the default wraps commands", () => {
  const after = injected(pod([gpu(), server]), bothSettings);
  expect(names(after.spec.initContainers)).toEqual(["bitfusion-forward"]);
  expect(after.spec.containers.map(({ command }) => command)).toEqual([["python", "x.py"], undefined]);
  expect(names(injected(pod([gpu()]), bothSettings).spec.initContainers)).toEqual(["bitfusion-client"]);
});

test.each<[description: string, given: Pod, message: string]>([
  [
    "a pod with the network of its node",
    pod([server], { spec: { hostNetwork: true } }),
    "spec.hostNetwork is true, but the client lupine is attached by a sidecar at 127.0.0.1, which would be open to the whole node: expected false",
  ],
  [
    "a container with the name of the sidecar",
    pod([server, { name: "bitfusion-forward" }]),
    'Container "bitfusion-forward": the webhook adds an init container of this name',
  ],
  [
    "a GPU container that pretends to be the sidecar",
    pod([], {
      spec: { initContainers: [gpu({ name: "bitfusion-forward", command: ["/usr/bin/bitfusion", "forward"] })] },
    }),
    'Init container "bitfusion-forward": the webhook adds an init container of this name',
  ],
  [
    "an init container with the name of the sidecar, but another program",
    pod([server], { spec: { initContainers: [{ name: "bitfusion-forward", command: ["/bin/sh", "forward"] }] } }),
    'Init container "bitfusion-forward": the webhook adds an init container of this name',
  ],
  [
    "a volume with the name of the client's",
    pod([server], { spec: { volumes: [{ name: "bitfusion-preload", emptyDir: {} }] } }),
    'Volume "bitfusion-preload": the webhook adds a volume of this name',
  ],
  [
    "a variable of the client with another value",
    pod([{ ...server, env: [{ name: "LUPINE_SERVER", value: "mine:1" }] }]),
    'Variable "LUPINE_SERVER": the webhook adds a variable of this name',
  ],
])("inject() refuses %s", (_, given, message) => {
  expect(() => injected(given, sidecarSettings)).toThrow(message);
});

test.each<[mountPath: string, conflict: string]>([
  ["/bitfusion", `, where the client's volume "bitfusion-client" is mounted`],
  ["/bitfusion/data", `, but /bitfusion is a read-only folder of the client's volume "bitfusion-client"`],
  ["/etc/ld.so.preload", `, where the client's volume "bitfusion-preload" is mounted`],
  ["/etc/../etc/ld.so.preload/x", `, but /etc/ld.so.preload is a file of the client's volume "bitfusion-preload"`],
])("inject() refuses a mount at %s", (mountPath, conflict) => {
  const spec = { volumes: [{ name: "data", emptyDir: {} }] };
  const given = pod([{ ...server, volumeMounts: [{ name: "data", mountPath }] }], { spec });
  expect(() => injected(given, sidecarSettings)).toThrow(
    `Container "server": volume "data" is mounted at ${mountPath}${conflict}: expected another path`,
  );
});

test("inject() refuses a ConfigMap at /etc: the kubelet could not create the file of the loader in it", () => {
  const spec = { volumes: [{ name: "etc", configMap: { name: "a" } }] };
  const given = pod([{ ...server, volumeMounts: [{ name: "etc", mountPath: "/etc" }] }], { spec });
  expect(() => injected(given, sidecarSettings)).toThrow("cannot be mounted below it, at /etc/ld.so.preload");
});

const valid = { result: "allowed", reason: "valid" };

test("inject() changes only the names of the claims in its own output, also if others have changed it", () => {
  const first = mutated(pod([server, gpu()], { spec: { initContainers: [gpu({ name: "i" })] } }), sidecarSettings);
  for (const again of [first, defaulted(first), meshed(first), meshed(defaulted(first))]) {
    const second = mutated(again, sidecarSettings);
    expect(second.metadata.annotations?.["bitfusion.io/claims"]).not.toBe(
      again.metadata.annotations?.["bitfusion.io/claims"],
    );
    expect(withNumberedClaims(second)).toEqual(withNumberedClaims(again));
    expect(validate(requestOf(second), sidecarSettings)).toMatchObject(valid);
  }
});

test("inject() adds a container to the sidecar that another webhook has added to the pod, and leaves the others", () => {
  const first = defaulted(mutated(pod([server, gpu()]), sidecarSettings));
  const [sidecar] = first.spec.initContainers ?? [];
  Object.assign(sidecar ?? {}, { image: "mirror/bitfusion", resources: { ...sidecar?.resources, limits: { cpu: 1 } } });
  first.spec.initContainers?.unshift({ name: "mesh", restartPolicy: "Always" });
  first.spec.containers.unshift(gpu({ name: "late", ports: [{ containerPort: 14_835 }] }));
  const late = mutated(deepFreeze(first), sidecarSettings);
  expect(validate(requestOf(late), sidecarSettings)).toMatchObject(valid);
  const { spec } = late;
  expect(names(spec.initContainers)).toEqual(["mesh", "bitfusion-forward"]);
  expect(spec.initContainers?.[1]).toMatchObject({
    image: "mirror/bitfusion",
    command: expect.arrayContaining(["server=14833", "train=14834", "late=14836"]),
    resources: {
      limits: { cpu: 1 },
      claims: [{ name: "bitfusion-server" }, { name: "bitfusion-train" }, { name: "bitfusion-late" }],
    },
  });
  expect(spec.containers.slice(1)).toEqual(first.spec.containers.slice(1));
  expect(spec.volumes).toEqual(first.spec.volumes as JsonObject[] as never);
});

test("inject() changes no field of a user's container but its resources, and appends to its variables and mounts", () => {
  let changed = 0;
  fc.assert(
    fc.property(annotatedPods, (given) => {
      const after = injected(given, sidecarSettings);
      const isOurs = ({ name }: Container) => name === "bitfusion-forward";
      const users = containersOf(after).filter((container) => !isOurs(container));
      if (containersOf(after).some(isOurs)) changed++;
      for (const [index, before] of containersOf(given).entries()) {
        const { resources, env = [], volumeMounts = [], ...rest } = users[index] as Container;
        const { resources: _, env: ownEnv = [], volumeMounts: ownMounts = [], ...own } = before;
        expect(rest).toEqual(own as typeof rest);
        expect(env.slice(0, ownEnv.length)).toEqual(ownEnv);
        expect(volumeMounts.slice(0, ownMounts.length)).toEqual(ownMounts);
      }
    }),
  );
  expect(changed).toBeGreaterThan(10); // otherwise the generated pods are too simple for this test
});

test("inject() attaches by sidecar in mode injection too", () => {
  const given = pod([server], { annotations: { [MODE]: "injection" } });
  expect(names(injected(given, sidecarSettings).spec.initContainers)).toEqual(["bitfusion-forward"]);
});

test("inject() needs no token for a sidecar, and no writable volume that an autoscaler or a drain would mind", () => {
  const injection = injectAnnotated(pod([server]), sidecarSettings);
  expect(injection?.needs).toEqual({ tokens: false });
  expect(JSON.stringify(injection?.patch)).not.toMatch(/emptyDir|safe-to-evict|bitfusion-secret/);
});

test("inject() replaces {port} everywhere in the values of a client's variables, and nothing else", () => {
  const env = [
    { name: "A", value: "{port} {port}" },
    { name: "{port}", value: "$(X) {host}" },
  ];
  const using = { ...sidecarSettings, catalogue: testCatalogue(sidecarClient({ env })) };
  expect(injected(pod([server]), using).spec.containers[0]?.env?.slice(1)).toEqual([
    { name: "A", value: "14833 14833" },
    { name: "{port}", value: "$(X) {host}" },
  ]);
});
