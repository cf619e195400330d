import type { Client } from "./catalogue.ts";
import { LIBRARY_PATH } from "./environment.ts";
import { TOKENS } from "./keys.ts";

/** A JSON object of the pod. */
export type Json = Record<string, unknown>;

/** Name of the init container. */
export const POPULATE = "populate";

const TOKENS_VOLUME = "bitfusion-tokens";

/** The client writes to its tree and to its servers.conf, so these are no read-only volumes. */
export const volumes = madeOnce((client): readonly Json[] => {
  const filled = volumesOf(client).map((volume) => ({ name: nameOf(volume), emptyDir: {} }));
  return client.tokens ? [...filled, { name: TOKENS_VOLUME, secret: { secretName: TOKENS.name } }] : filled;
});

/** Fills the volumes from the client's image. Holds in a namespace that enforces Pod Security's "restricted". */
export const populateContainer = madeOnce((client): Json => {
  const { image, populate, resources, tokens } = client;
  const filled = volumesOf(client).map((volume) => ({ name: nameOf(volume), mountPath: `/populate/${volume}` }));
  return {
    name: POPULATE,
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
    volumeMounts: tokens ? [...filled, { name: TOKENS_VOLUME, mountPath: "/populate/tokens", readOnly: true }] : filled,
  };
});

/** Whether it is ours: others may have rewritten the image (a mirror) or the resources (a LimitRange), and added mounts. */
export function isPopulateContainer(container: Json, client: Client): boolean {
  const { name, command, volumeMounts: mounts } = populateContainer(client);
  const own = Array.isArray(container.volumeMounts) ? container.volumeMounts : [];
  return (
    includes(container, { name, command }) &&
    (mounts as Json[]).every((mount) => own.some((each) => includes(each, mount)))
  );
}

/** What a container that uses GPUs sees of the volumes: where the client looks. */
export const volumeMounts = madeOnce(({ mounts }): readonly Json[] =>
  mounts.map(({ volume, path, file }) => ({
    name: nameOf(volume),
    mountPath: path,
    ...(file === undefined ? {} : { subPath: file }),
  })),
);

/** Who claims, for the pool's own records, whether the scheduler has chosen the GPUs, and what the client wants. */
export function variables(
  { env }: Client,
  { container, allocation }: { container: string; allocation: "units" | "claims" },
): Json[] {
  return [
    { name: "BITFUSION_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
    { name: "BITFUSION_POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "BITFUSION_CONTAINER", value: container },
    ...(allocation === "claims" ? [{ name: "BITFUSION_ALLOCATION", value: allocation }] : []),
    ...env,
  ];
}

/** Names of all variables that a container may get. */
export const variableNames = madeOnce((client): ReadonlySet<unknown> => {
  const all = variables(client, { container: "", allocation: "claims" });
  return new Set([...all.map(({ name }) => name), LIBRARY_PATH]);
});

/** Whether all of `expected` is in `actual`, which the API server may have filled with defaults. */
export function includes(actual: unknown, expected: unknown): boolean {
  if (typeof expected !== "object" || expected === null) return actual === expected;
  if (typeof actual !== "object" || actual === null) return false;
  if (Array.isArray(expected) && (!Array.isArray(actual) || actual.length !== expected.length)) return false;
  return Object.entries(expected).every(([key, value]) => includes((actual as Json)[key], value));
}

function volumesOf({ mounts }: Client): Client["mounts"][number]["volume"][] {
  return [...new Set(mounts.map(({ volume }) => volume))];
}

function nameOf(volume: string): string {
  return `bitfusion-${volume}`;
}

/** What is made of a client is the same for each pod, and shared by their patches: it is only read. */
function madeOnce<T>(make: (client: Client) => T): (client: Client) => T {
  const made = new WeakMap<Client, T>();
  return (client) => {
    const before = made.get(client);
    if (before !== undefined) return before;
    const result = make(client);
    made.set(client, result);
    return result;
  };
}
