import type { Client } from "./catalogue.ts";
import { TOKENS } from "./keys.ts";

/** A JSON object of the pod. */
export type Json = Record<string, unknown>;

const VOLUME = {
  client: "bitfusion-client",
  opt: "bitfusion-opt",
  config: "bitfusion-config",
  tokens: "bitfusion-tokens",
} as const;

/** The client writes to its tree and to its servers.conf, so these are no read-only volumes. */
export function volumes(): Json[] {
  return [
    { name: VOLUME.client, emptyDir: {} },
    { name: VOLUME.opt, emptyDir: {} },
    { name: VOLUME.config, emptyDir: {} },
    { name: VOLUME.tokens, secret: { secretName: TOKENS.name } },
  ];
}

/** Fills the volumes from the client's image. Holds in a namespace that enforces Pod Security's "restricted". */
export function populateContainer({ image, populate, resources }: Client): Json {
  return {
    name: "populate",
    image,
    command: populate,
    resources,
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 65532, // else a runAsUser of the pod would count
      runAsGroup: 65532,
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError", // so that `kubectl describe` says what is wrong with a token
    volumeMounts: [
      { name: VOLUME.client, mountPath: "/populate/bitfusion" },
      { name: VOLUME.opt, mountPath: "/populate/opt" },
      { name: VOLUME.config, mountPath: "/populate/config" },
      { name: VOLUME.tokens, mountPath: "/populate/tokens", readOnly: true },
    ],
  };
}

/** What a container that uses GPUs sees of the volumes: where Bitfusion's client looks. */
export function volumeMounts(): Json[] {
  return [
    { name: VOLUME.client, mountPath: "/bitfusion" },
    { name: VOLUME.opt, mountPath: "/opt/bitfusion" },
    { name: VOLUME.config, mountPath: "/etc/bitfusion/servers.conf", subPath: "servers.conf" },
    { name: VOLUME.config, mountPath: "/etc/bitfusion/tls/ca.crt", subPath: "ca.crt" },
    { name: VOLUME.config, mountPath: "/root/.bitfusion/client.yaml", subPath: "client.yaml" },
    // for users that may not look into /root
    { name: VOLUME.config, mountPath: "/etc/bitfusion/client.yaml", subPath: "client.yaml" },
  ];
}

/** Who claims, for the pool's own records. */
export function ownerEnvironment(container: string): Json[] {
  return [
    { name: "BITFUSION_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
    { name: "BITFUSION_POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "BITFUSION_CONTAINER", value: container },
  ];
}
