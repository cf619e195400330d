import { expect, test } from "bun:test";
import type { Container, Pod } from "../pod/pod.ts";
import { defaulted, gpu, mutated, NUM, pod, requestOf, sidecarSettings } from "../testing.ts";
import { validate } from "./validate.ts";

const NIC = { name: "nic", resourceClaimName: "nic-1" };
const server: Container = {
  name: "server",
  image: "vllm",
  resources: { limits: { [NUM]: 1 }, claims: [{ name: "nic" }] },
};
const given = pod([server], {
  spec: { initContainers: [gpu({ name: "warm-up" }, { [NUM]: 1 })], resourceClaims: [NIC] },
});

/** The elements of an injected pod that these tests change. */
interface Parts {
  readonly pod: Pod;
  readonly sidecar: Container;
  readonly server: Container;
}

/** An injected pod after a change by another webhook. */
function changed(change: (parts: Parts) => void): Pod {
  const result = structuredClone(mutated(given, sidecarSettings));
  const [sidecar] = result.spec.initContainers ?? [];
  const [first] = result.spec.containers;
  if (!sidecar || !first) throw new Error("Not injected");
  change({ pod: result, sidecar, server: first });
  return result;
}

const NOT_INJECTED =
  "expected it as the webhook injects it; create the pod again from a manifest without injected parts";
const CHANGED = `Init container "bitfusion-forward" is missing or changed: ${NOT_INJECTED}`;

test.each<[description: string, object: Pod, message: string]>([
  [
    "whose sidecar lost its restartPolicy to a webhook that does not know it",
    changed(({ sidecar }) => void delete sidecar.restartPolicy),
    `Init container "bitfusion-forward" has no restartPolicy "Always", so the containers after it would never start: update the webhook that has removed it, which does not know the sidecars of Kubernetes 1.28 and later`,
  ],
  ["without the sidecar", changed(({ pod }) => void pod.spec.initContainers?.shift()), CHANGED],
  [
    "whose sidecar runs another program",
    changed(({ sidecar }) => void sidecar.command?.splice(0, 1, "/bin/sh")),
    CHANGED,
  ],
  ["whose sidecar has another argument", changed(({ sidecar }) => void sidecar.command?.push("--verbose")), CHANGED],
  ["whose sidecar lost its probe", changed(({ sidecar }) => void delete sidecar.startupProbe), CHANGED],
  [
    "whose sidecar runs after a container that uses it",
    changed(({ pod }) => void pod.spec.initContainers?.reverse()),
    `Init container "warm-up" runs before "bitfusion-forward": ${NOT_INJECTED}`,
  ],
  [
    "whose sidecar lost its claims to a webhook that does not know them",
    changed(({ sidecar }) => void delete sidecar.resources?.claims),
    `Init container "bitfusion-forward" lacks the resource claim "bitfusion-server": ${NOT_INJECTED}`,
  ],
  [
    "with a GPU container that the sidecar has no port for",
    changed(({ pod, server }) => void pod.spec.containers.push({ ...server, name: "copy" })),
    `Init container "bitfusion-forward" has no port for "copy": ${NOT_INJECTED}`,
  ],
  [
    "without the volume with the client's image",
    changed(({ pod }) => void pod.spec.volumes?.shift()),
    `Volume "bitfusion-client" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "whose volume has another image",
    changed(({ pod }) => Object.assign(pod.spec.volumes?.[0]?.image ?? {}, { reference: "other" })),
    `Volume "bitfusion-client" is missing or changed: ${NOT_INJECTED}`,
  ],
  [
    "whose container lost the mount of the client's image",
    changed(({ server }) => void server.volumeMounts?.shift()),
    `Container "server" has no mount at /bitfusion: ${NOT_INJECTED}`,
  ],
  [
    "whose container lost the mount of the loader's file",
    changed(({ server }) => void server.volumeMounts?.pop()),
    `Container "server" has no mount at /etc/ld.so.preload: ${NOT_INJECTED}`,
  ],
  [
    "whose annotation names another library",
    changed(({ pod }) => Object.assign(pod.metadata.annotations ?? {}, { "bitfusion.io/preload": "/tmp/a.so" })),
    `Annotation bitfusion.io/preload is not "/bitfusion/lib/libcuda.so.1 /bitfusion/lib/libnvidia-ml.so.1": ${NOT_INJECTED}`,
  ],
  [
    "whose container lost the variable with the address",
    changed(({ server }) => void server.env?.pop()),
    `Container "server" has another value of LUPINE_SERVER, or none: ${NOT_INJECTED}`,
  ],
  [
    "whose container has the address of another container",
    changed(({ server }) => void server.env?.push({ name: "LUPINE_SERVER", value: "127.0.0.1:14833" })),
    `Container "server" has another value of LUPINE_SERVER, or none: ${NOT_INJECTED}`,
  ],
  [
    "that was given the network of its node",
    changed(({ pod }) => Object.assign(pod.spec, { hostNetwork: true })),
    "spec.hostNetwork is true, but the client lupine is attached by a sidecar at 127.0.0.1, which would be open to the whole node: expected false",
  ],
  [
    "in which another container got a port of the sidecar",
    changed(({ pod }) => void pod.spec.containers.push({ name: "proxy", ports: [{ containerPort: 14_834 }] })),
    'A container has the port 14834, where the sidecar "bitfusion-forward" listens: expected another port',
  ],
  [
    "with a mount of another webhook below the client's image",
    changed(({ pod, server }) => {
      pod.spec.volumes?.push({ name: "own", emptyDir: {} } as never);
      server.volumeMounts?.push({ name: "own", mountPath: "/bitfusion/lib" });
    }),
    `Container "server": volume "own" is mounted at /bitfusion/lib, but /bitfusion is a read-only folder of the client's volume "bitfusion-client": expected another path`,
  ],
])("validate() refuses a pod %s", (_, object, message) => {
  expect(validate(requestOf(object), sidecarSettings)).toMatchObject({ result: "denied", message });
});

test.each<[description: string, object: Pod]>([
  ["with the defaults of the API server", defaulted(mutated(given, sidecarSettings))],
  ["whose sidecar has the image of a mirror", changed(({ sidecar }) => Object.assign(sidecar, { image: "mirror/x" }))],
  [
    "whose probe has the times of another version",
    changed(({ sidecar }) => Object.assign(sidecar.startupProbe ?? {}, { periodSeconds: 5 })),
  ],
  [
    "with the sidecar of a mesh before ours",
    changed(({ pod }) => void pod.spec.initContainers?.unshift({ name: "mesh", restartPolicy: "Always" })),
  ],
  [
    "to which another webhook added variables, mounts and a container",
    changed(({ pod, server }) => {
      server.env?.push({ name: "MESH", value: "on" });
      server.volumeMounts?.push({ name: "mesh", mountPath: "/var/run/mesh" });
      pod.spec.containers.unshift({ name: "proxy", ports: [{ containerPort: 15_001 }] });
    }),
  ],
  [
    "that can be debugged by an ephemeral container",
    changed(({ pod }) => Object.assign(pod.spec, { ephemeralContainers: [{ name: "debugger" }] })),
  ],
])("validate() accepts a pod %s", (_, object) => {
  expect(validate(requestOf(object), sidecarSettings)).toMatchObject({ result: "allowed", reason: "valid" });
});
