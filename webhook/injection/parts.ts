import type { Client } from "../clients/catalogue.ts";
import { shareElements } from "../patch/draft.ts";
import { TOKENS } from "../pod/keys.ts";
import { withLibraryPath } from "./environment.ts";
import type { Allocation } from "./injection.ts";
import { madeOnce } from "./made_once.ts";

/** A JSON object of the pod. */
export type Json = Record<string, unknown>;

/** Name of the init container. */
export const POPULATE = "populate";

const TOKENS_VOLUME = "bitfusion-tokens";

/** The client writes to its tree and to its servers.conf, so these are no read-only volumes. */
export const volumes = madeOnce((client): readonly Json[] => {
  const filled = volumesOf(client).map((volume) => ({ name: nameOf(volume), emptyDir: {} }));
  const tokens = { name: TOKENS_VOLUME, secret: { secretName: TOKENS.name } };
  return shareElements(client.tokens ? [...filled, tokens] : filled);
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
  shareElements(
    mounts.map(({ volume, path, file }) => ({
      name: nameOf(volume),
      mountPath: path,
      ...(file === undefined ? {} : { subPath: file }),
    })),
  ),
);

const CONTAINER = "BITFUSION_CONTAINER";

/** Which container claims: with {@link clientVariables} for the pool's own records. */
export function containerVariable(container: string): Json {
  return { name: CONTAINER, value: container };
}

const POD_VARIABLES: readonly Json[] = [
  { name: "BITFUSION_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
  { name: "BITFUSION_POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
];

type ByAllocation = Readonly<Record<Allocation, (client: Client) => readonly Json[]>>;

/** Whose pod claims, whether the scheduler has chosen the GPUs, and what the client wants. */
export const clientVariables: ByAllocation = {
  units: ({ env }) => [...POD_VARIABLES, ...env],
  claims: ({ env }) => [...POD_VARIABLES, { name: "BITFUSION_ALLOCATION", value: "claims" }, ...env],
};

/** {@link clientVariables}, and the one that leads to the client's libraries: for a container that has none of them itself. */
export const clientEnvironment: ByAllocation = {
  units: madeOnce((client) => environmentOf(client, "units")),
  claims: madeOnce((client) => environmentOf(client, "claims")),
};

function environmentOf(client: Client, allocation: Allocation): readonly Json[] {
  return shareElements(withLibraryPath(clientVariables[allocation](client), client.libraryPath));
}

/** Whether a variable's name is one of those. Most names are of another length, which is known without a look at their text. */
export const isClientVariable = madeOnce((client): ((name: string) => boolean) => {
  const names = new Set([CONTAINER, ...clientEnvironment.claims(client).map(({ name }) => String(name))]);
  const lengths: boolean[] = [];
  for (const { length } of names) lengths[length] = true;
  return (name) => lengths[name.length] === true && names.has(name);
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
