import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Pod, Volume } from "../../kubernetes/objects/pod.ts";

export interface VolumeOptions {
  /** Folder for the pod's own volumes. */
  folder: string;
  /** Folder that stands for the root of the node's file system. */
  hostRoot: string;
}

/**
 * Creates the volumes of a pod. Returns the folder of each by its name.
 *
 * @throws {Error} if a volume is of a kind that this node does not support.
 */
export async function createVolumes(pod: Pod, options: VolumeOptions): Promise<Record<string, string>> {
  const folders: Record<string, string> = {};
  for (const volume of pod.spec.volumes ?? []) folders[volume.name] = await createVolume(volume, options);
  return folders;
}

async function createVolume(
  { name, emptyDir, hostPath }: Volume,
  { folder, hostRoot }: VolumeOptions,
): Promise<string> {
  if (hostPath) return join(hostRoot, hostPath.path);
  if (!emptyDir) throw new Error(`Volume "${name}" is of a kind that this node does not support`);
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  return path;
}
