import { TOKEN_SECRET } from "../../pool/token/token_source.ts";
import type { ClientDefinition } from "../clients/catalogue.ts";
import { memoize } from "../fast/memoize.ts";
import type { JsonObject } from "../pod/json_object.ts";

const TOKENS_VOLUME = "bitfusion-tokens";

/**
 * The volumes of a client. The init container fills those that the client's mounts name: they are emptyDirs, since the client writes
 * to its tree and to servers.conf.
 */
export const clientVolumes = memoize((client: ClientDefinition): readonly JsonObject[] => {
  const filled = volumesOf(client).map((volume) => ({ name: volumeName(volume), emptyDir: {} }));
  const tokens = { name: TOKENS_VOLUME, secret: { secretName: TOKEN_SECRET.name } };
  return client.tokens ? [...filled, tokens] : filled;
});

/**
 * The value of the annotation by which the cluster autoscaler may remove a pod although it has these volumes: nobody misses them. It keeps
 * the pod's own value, a list with commas.
 */
export function withEvictableVolumes(own: string | undefined, client: ClientDefinition): string {
  const names = (own ?? "").split(",").filter(Boolean);
  const added = volumesOf(client).map(volumeName);
  return [...names, ...added.filter((name) => !names.includes(name))].join(",");
}

/** The mounts of a GPU container, at the paths where the client expects them. */
export const clientVolumeMounts = memoize(({ mounts }: ClientDefinition) => {
  return mounts.map(({ volume, path, file, folder = file }) => ({
    name: volumeName(volume),
    mountPath: path,
    ...(folder === undefined ? {} : { subPath: folder }),
  }));
});

/** The mounts of the init container. */
export const initVolumeMounts = memoize((client: ClientDefinition): readonly JsonObject[] => {
  const filled = volumesOf(client).map((volume) => ({ name: volumeName(volume), mountPath: `/populate/${volume}` }));
  const tokens = { name: TOKENS_VOLUME, mountPath: "/populate/tokens", readOnly: true };
  return client.tokens ? [...filled, tokens] : filled;
});

function volumesOf({ mounts }: ClientDefinition): string[] {
  return [...new Set(mounts.map(({ volume }) => volume))];
}

/** The name in a pod of a volume in the catalogue. */
export function volumeName(volume: string): string {
  return `bitfusion-${volume}`;
}
