import { join } from "node:path/posix";
import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import type { ClientDefinition } from "../clients/catalogue.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { clientVolumeMounts, volumeName } from "./client_volumes.ts";

/** Something that a container mounts beside the client. */
interface OwnMount {
  /** For messages, such as `volume "data" is mounted at /opt`. */
  readonly description: string;
  /** The path in its only canonical spelling. */
  readonly path: string;
  /** Whether others can be mounted below it: the container runtime then creates folders and files in it. */
  readonly holdsMounts: boolean;
}

/**
 * Refuses a container whose own mounts and the client's are in each other's way: it would never start, or one would hide the other.
 *
 * @throws {Refusal} names the container, both volumes and both paths.
 */
export function refuseMountCollisions(pod: Pod, container: Container, client: ClientDefinition): void {
  for (const own of ownMounts(pod, container, clientVolumeMounts(client))) {
    const conflict = conflictWith(own, client);
    if (!conflict) continue;
    throw new Refusal(
      "collision",
      `Container "${container.name}": ${own.description}${conflict}: expected another path`,
    );
  }
}

function ownMounts({ spec }: Pod, container: Container, clientMounts: readonly JsonObject[]): OwnMount[] {
  const { volumeMounts = [], volumeDevices = [] } = container;
  const mounts = volumeMounts
    .filter((mount) => !clientMounts.some((each) => containsFields(mount, each)))
    .map((mount) => {
      const volume = spec.volumes?.find(({ name }) => name === mount.name);
      const isReadOnly = mount.readOnly === true || isReadOnlyVolume(volume);
      const how = isFile(volume) ? "is a file" : isReadOnly ? "is mounted read-only" : "is mounted";
      return toOwnMount(mount.name, how, mount.mountPath);
    });
  return [...mounts, ...volumeDevices.map(({ name, devicePath }) => toOwnMount(name, "is a device", devicePath))];
}

/** How a volume is in a container. */
type How = "is mounted" | "is mounted read-only" | "is a file" | "is a device";

function toOwnMount(name: string, how: How, path: string): OwnMount {
  return {
    description: `volume "${name}" ${how} at ${path}`,
    path: canonicalPath(path),
    holdsMounts: how === "is mounted",
  };
}

/** The kubelet takes a relative path from the root of the container. */
function canonicalPath(path: string): string {
  return join("/", path).replace(/(?<=.)\/$/, "");
}

/** Volumes that the kubelet always mounts read-only (k8s.io/kubernetes/pkg/volume: attributes of the mounters). */
const READ_ONLY_SOURCES = ["configMap", "secret", "downwardAPI", "projected", "image"];

function isReadOnlyVolume(volume: JsonObject = {}): boolean {
  return Object.entries(volume).some(
    ([source, options]) => READ_ONLY_SOURCES.includes(source) || (options as JsonObject | null)?.readOnly === true,
  );
}

/** Whether a volume is a file of the node: FileOrCreate, Socket, CharDevice and so on. */
function isFile({ hostPath }: JsonObject = {}): boolean {
  return /File|Socket|Device/.test(String((hostPath as JsonObject | null | undefined)?.type));
}

/** How a mount and the client's are in each other's way, for the message. Undefined if they are not. */
function conflictWith(own: OwnMount, { mounts, binary, libraryPath }: ClientDefinition): string | undefined {
  for (const { volume, path, file } of mounts) {
    const clientVolume = `the client's volume "${volumeName(volume)}"`;
    if (own.path === path) return `, where ${clientVolume} is mounted`;
    if (isBelow(path, own.path) && !own.holdsMounts) {
      return `, so ${clientVolume} cannot be mounted below it, at ${path}`;
    }
    if (!isBelow(own.path, path)) continue;
    if (file !== undefined) return `, but ${path} is a file of ${clientVolume}`;
    const hidden = [binary, libraryPath].find((each) => each === own.path || isBelow(each ?? "", own.path));
    if (hidden) return `, where it hides ${hidden} of ${clientVolume}`;
  }
  return undefined;
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder === "/" ? folder : `${folder}/`) && path !== folder;
}
