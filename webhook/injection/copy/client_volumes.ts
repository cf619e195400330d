import { TOKEN_SECRET } from "../../../pool/token/token_source.ts";
import type { CopiedClient } from "../../clients/catalogue.ts";
import { memoize } from "../../fast/memoize.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import type { ClientMount } from "../attachment.ts";

const TOKENS_VOLUME = "bitfusion-tokens";

/**
 * The volumes of a client. The init container fills those that the client's mounts name: they are emptyDirs, since the client writes
 * to its tree and to servers.conf.
 */
export const clientVolumes = memoize((client: CopiedClient): readonly JsonObject[] => {
  const filled = volumesOf(client).map((volume) => ({ name: volumeName(volume), emptyDir: {} }));
  const tokens = { name: TOKENS_VOLUME, secret: { secretName: TOKEN_SECRET.name } };
  return client.tokens ? [...filled, tokens] : filled;
});

/**
 * The value of the annotation by which the cluster autoscaler may remove a pod although it has these volumes: nobody misses them. It keeps
 * the pod's own value, a list with commas.
 */
export function withEvictableVolumes(own: string | undefined, client: CopiedClient): string {
  const names = (own ?? "").split(",").filter(Boolean);
  const added = volumesOf(client).map(volumeName);
  return [...names, ...added.filter((name) => !names.includes(name))].join(",");
}

/** The mounts of a GPU container, at the paths where the client expects them. */
export const clientMounts = memoize(({ mounts, binary, libraryPath }: CopiedClient): readonly ClientMount[] => {
  const needed = [binary, libraryPath].filter((path) => path !== undefined);
  return mounts.map(({ volume, path, file, folder = file }) => ({
    mount: { name: volumeName(volume), mountPath: path, ...(folder === undefined ? {} : { subPath: folder }) },
    kind: file === undefined ? "folder" : "file",
    needed,
  }));
});

/** The mounts of the init container. */
export const initVolumeMounts = memoize((client: CopiedClient): readonly JsonObject[] => {
  const filled = volumesOf(client).map((volume) => ({ name: volumeName(volume), mountPath: `/populate/${volume}` }));
  const tokens = { name: TOKENS_VOLUME, mountPath: "/populate/tokens", readOnly: true };
  return client.tokens ? [...filled, tokens] : filled;
});

function volumesOf({ mounts }: CopiedClient): string[] {
  return [...new Set(mounts.map(({ volume }) => volume))];
}

/** The name in a pod of a volume in the catalogue. */
function volumeName(volume: string): string {
  return `bitfusion-${volume}`;
}
