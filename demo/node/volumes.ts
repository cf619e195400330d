import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Pod, Volume } from "../../kubernetes/objects/pod.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";

export interface VolumeOptions {
  store: ObjectStore;
  /** Folder for the pod's own volumes. */
  folder: string;
  /** Folder that stands for the root of the node's file system. */
  hostRoot: string;
}

/**
 * Creates the volumes of a pod. Returns the folder of each by its name.
 *
 * @throws {Error} if a Secret does not exist, or a volume is of a kind that this node does not support.
 */
export async function createVolumes(pod: Pod, options: VolumeOptions): Promise<Record<string, string>> {
  const folders: Record<string, string> = {};
  for (const volume of pod.spec.volumes ?? []) folders[volume.name] = await createVolume(pod, volume, options);
  return folders;
}

async function createVolume(
  { metadata: { namespace } }: Pod,
  { name, emptyDir, hostPath, secret }: Volume,
  { store, folder, hostRoot }: VolumeOptions,
): Promise<string> {
  if (hostPath) return join(hostRoot, hostPath.path);
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  if (emptyDir) return path;
  if (!secret) throw new Error(`Volume "${name}" is of a kind that this node does not support`);
  const { secretName } = secret;
  const stored = store.get<{ data?: Record<string, string> }>(`/api/v1/namespaces/${namespace}/secrets/${secretName}`);
  if (!stored) throw new Error(`Volume "${name}": secret "${secretName}" not found`);
  for (const [file, data] of Object.entries(stored.data ?? {})) {
    await writeFile(join(path, file), Buffer.from(data, "base64"), { mode: 0o600 });
  }
  return path;
}
