import type { SidecarClient } from "../../clients/catalogue.ts";
import { memoize } from "../../fast/memoize.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import { CONTAINER_VARIABLE } from "../../pod/keys.ts";
import type { ClientMount } from "../attachment.ts";

/** Where the GPU containers have the client's image. */
const FOLDER = "/bitfusion";

/** The file with the libraries that the dynamic loader of glibc loads into every program (ld.so(8)). */
const PRELOAD_FILE = "/etc/ld.so.preload";

/** The annotation of a pod whose value is the content of {@link PRELOAD_FILE}. */
export const PRELOAD_ANNOTATION = "bitfusion.io/preload";

const CLIENT_VOLUME = "bitfusion-client";
const PRELOAD_VOLUME = "bitfusion-preload";

/**
 * The volumes of a client: its image, and the file that has the loader find its libraries. LD_LIBRARY_PATH stays as the image, `env` or
 * `envFrom` has it.
 */
export const clientVolumes = memoize(({ image }: SidecarClient): readonly JsonObject[] => {
  const fieldRef = { fieldPath: `metadata.annotations['${PRELOAD_ANNOTATION}']` };
  return [
    { name: CLIENT_VOLUME, image: { reference: image } },
    { name: PRELOAD_VOLUME, downwardAPI: { items: [{ path: "ld.so.preload", fieldRef }] } },
  ];
});

/** The mounts of a GPU container. The image is mounted as a whole: containerd 2.1 ignores the subPath of an image volume. */
export const CLIENT_MOUNTS: readonly ClientMount[] = [
  { mount: { name: CLIENT_VOLUME, mountPath: FOLDER, readOnly: true }, kind: "read-only folder", needed: [] },
  {
    mount: { name: PRELOAD_VOLUME, mountPath: PRELOAD_FILE, subPath: "ld.so.preload", readOnly: true },
    kind: "file",
    needed: [],
  },
];

/** The value of {@link PRELOAD_ANNOTATION}: the paths of the client's libraries in the GPU containers, with spaces between them. */
export function preloadedBy({ sidecar: { libraries } }: SidecarClient): string {
  return libraries.map((path) => `${FOLDER}/${path}`).join(" ");
}

/** The variables of a GPU container whose port this is. */
export function clientVariables({ env }: SidecarClient, container: string, port: number): JsonObject[] {
  const own = env.map(({ name, value }) => ({ name, value: value.replaceAll("{port}", String(port)) }));
  return [{ name: CONTAINER_VARIABLE, value: container }, ...own];
}
