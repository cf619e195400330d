import { expect, test } from "bun:test";
import type { JsonObject } from "../pod/json_object.ts";
import { gpu, injected, pod, requestOf, settings } from "../testing.ts";
import { validate } from "../validation/validate.ts";

/** A pod that mounts a volume, or has it as a device, beside the client. */
function mounting(volume: JsonObject, mount: JsonObject, mounts: "volumeMounts" | "volumeDevices" = "volumeMounts") {
  const spec = { volumes: [{ name: "data", ...volume }] };
  return pod([gpu({ [mounts]: [{ name: "data", ...mount }] })], { spec });
}

const RO = "is mounted read-only";
const empty = { emptyDir: {} };
const OPT = `the client's volume "bitfusion-opt"`;
const CONFIG = `the client's volume "bitfusion-config"`;

test.each<[description: string, volume: JsonObject, mount: JsonObject, conflict: string]>([
  ["the path of a client's mount", empty, { mountPath: "/opt/bitfusion" }, `, where ${OPT} is mounted`],
  ["that path with a slash at the end", empty, { mountPath: "/opt/bitfusion/" }, `, where ${OPT} is mounted`],
  ["that path with two slashes", empty, { mountPath: "/opt//bitfusion" }, `, where ${OPT} is mounted`],
  ["that path with a dot", empty, { mountPath: "/opt/./bitfusion" }, `, where ${OPT} is mounted`],
  ["that path with two dots", empty, { mountPath: "/opt/x/../bitfusion/." }, `, where ${OPT} is mounted`],
  ["that path as a relative one", empty, { mountPath: "opt/bitfusion" }, `, where ${OPT} is mounted`],
  ["a file's path", empty, { mountPath: "/etc//bitfusion/servers.conf", subPath: "a" }, `, where ${CONFIG} is mounted`],
  [
    "a path below a file of the client",
    empty,
    { mountPath: "/etc/bitfusion/servers.conf/x" },
    `, but /etc/bitfusion/servers.conf is a file of ${CONFIG}`,
  ],
  [
    "the folder of the client's program",
    empty,
    { mountPath: "/bitfusion/bin" },
    `, where it hides /bitfusion/bin/bitfusion of the client's volume "bitfusion-client"`,
  ],
])("inject() refuses a mount at %s", (_, volume, mount, conflict) => {
  expect(() => injected(mounting(volume, mount))).toThrow(
    `Container "train": volume "data" is mounted at ${mount.mountPath}${conflict}: expected another path`,
  );
});

test.each<[description: string, how: string, volume: JsonObject, mount: JsonObject]>([
  ["ConfigMap", RO, { configMap: { name: "a" } }, {}],
  ["Secret", RO, { secret: { secretName: "a" } }, {}],
  ["projected volume", RO, { projected: { sources: [] } }, {}],
  ["downwardAPI volume", RO, { downwardAPI: { items: [] } }, {}],
  ["image volume", RO, { image: { reference: "a" } }, {}],
  ["read-only PersistentVolumeClaim", RO, { persistentVolumeClaim: { claimName: "a", readOnly: true } }, {}],
  ["read-only CSI volume", RO, { csi: { driver: "a", readOnly: true } }, {}],
  ["hostPath of a file", "is a file", { hostPath: { path: "/a", type: "FileOrCreate" } }, {}],
  ["read-only mount of an emptyDir", RO, empty, { readOnly: true }],
])("inject() refuses a %s above a client's file: the container would never start", (_, how, volume, mount) => {
  for (const mountPath of ["/etc/bitfusion", "/root/", "/"]) {
    expect(() => injected(mounting(volume, { ...mount, mountPath }))).toThrow(
      `Container "train": volume "data" ${how} at ${mountPath}, so the client's volume "bitfusion-`,
    );
  }
});

const configMap = { configMap: { name: "a" } };

test.each<[description: string, volume: JsonObject, mount: JsonObject]>([
  ["image volume", { image: { reference: "a" } }, {}],
  ["read-only mount of an emptyDir", empty, { readOnly: true }],
  ["folder of a ConfigMap", configMap, { subPath: "a" }],
])("inject() refuses a %s above a client's folder", (_, volume, mount) => {
  expect(() => injected(mounting(volume, { ...mount, mountPath: "/opt" }))).toThrow(
    `volume "data" is mounted read-only at /opt, so ${OPT} cannot be mounted below it, at /opt/bitfusion: expected`,
  );
});

test.each(["/opt/bitfusion", "/opt", "/bitfusion/bin/"])("inject() refuses a device at %s", (devicePath) => {
  const volume = { persistentVolumeClaim: { claimName: "a" } };
  expect(() => injected(mounting(volume, { devicePath }, "volumeDevices"))).toThrow(
    `Container "train": volume "data" is a device at ${devicePath}`,
  );
});

test.each<[description: string, volume: JsonObject, mount: JsonObject]>([
  ["a writable volume above a client's mount", empty, { mountPath: "/opt" }],
  ["a writable folder of the node above a client's mount", { hostPath: { path: "/a" } }, { mountPath: "/root" }],
  ["a ConfigMap above a client's folder, which the kubelet creates in it", configMap, { mountPath: "/opt" }],
  ["a Secret above a client's folder", { secret: { secretName: "a" } }, { mountPath: "/opt/", readOnly: true }],
  ["a ConfigMap below a client's folder", configMap, { mountPath: "/opt/bitfusion/x" }],
  ["a ConfigMap beside a client's folder", configMap, { mountPath: "/opt/bitfusion2" }],
  ["a ConfigMap beside a client's file", configMap, { mountPath: "/etc/bitfusion/own" }],
])("inject() accepts %s", (_, volume, mount) => {
  const { spec } = injected(mounting(volume, mount));
  expect(spec.containers[0]?.volumeMounts?.[0]).toMatchObject(mount);
});

test("validate() refuses a mount that another webhook added later, above the client's", () => {
  const { metadata, spec } = structuredClone(injected(pod([gpu()])));
  spec.volumes?.push({ name: "vault", secret: { secretName: "a" } } as never);
  spec.containers[0]?.volumeMounts?.push({ name: "vault", mountPath: "/etc/bitfusion" });
  expect(validate(requestOf({ metadata, spec }), settings)).toEqual({
    result: "denied",
    reason: "collision",
    message: `Container "train": volume "vault" is mounted read-only at /etc/bitfusion, so ${CONFIG} cannot be mounted below it, at /etc/bitfusion/servers.conf: expected another path`,
  });
});
