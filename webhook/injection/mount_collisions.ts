import { join } from "node:path/posix";
import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import { quote, shorten } from "../../program/text/quote.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import type { ClientMount } from "./attachment.ts";

/** Something that a container mounts beside the client. */
interface OwnMount {
  /** For messages, such as `volume "data" is mounted at /opt`. */
  readonly description: string;
  /** The path in its only canonical spelling. */
  readonly path: string;
  /** What can be mounted below it: the kubelet or the container runtime must create a folder or file for it first. */
  readonly holds: "folders and files" | "folders" | "nothing";
}

/**
 * Refuses a container whose own mounts and the client's are in each other's way: it would never start, or one would hide the other.
 *
 * @throws {Refusal} names the container, both volumes and both paths.
 */
export function refuseMountCollisions(pod: Pod, container: Container, clientMounts: readonly ClientMount[]): void {
  for (const own of ownMounts(pod, container, clientMounts)) {
    const conflict = conflictWith(own, clientMounts);
    if (!conflict) continue;
    throw new Refusal(
      "collision",
      `Container ${quote(container.name)}: ${own.description}${conflict}: expected another path`,
    );
  }
}

function ownMounts({ spec }: Pod, container: Container, clientMounts: readonly ClientMount[]): OwnMount[] {
  const { volumeMounts = [], volumeDevices = [] } = container;
  const mounts = volumeMounts
    .filter((mount) => !clientMounts.some((each) => containsFields(mount, each.mount)))
    .map((mount): OwnMount => {
      const { name, mountPath } = mount;
      const volume = spec.volumes?.find((each) => each.name === name);
      const holds = holdsOf(mount, volume);
      const how = isFile(volume) ? "is a file" : holds === "folders and files" ? "is mounted" : "is mounted read-only";
      return {
        description: `volume ${quote(name)} ${how} at ${shorten(mountPath)}`,
        path: canonicalPath(mountPath),
        holds,
      };
    });
  const devices = volumeDevices.map(
    ({ name, devicePath }): OwnMount => ({
      description: `volume ${quote(name)} is a device at ${shorten(devicePath)}`,
      path: canonicalPath(devicePath),
      holds: "nothing",
    }),
  );
  return [...mounts, ...devices];
}

/** The kubelet takes a relative path from the root of the container. */
function canonicalPath(path: string): string {
  return join("/", path).replace(/(?<=.)\/$/, "");
}

/** Read-only volumes in which the kubelet creates folders for other mounts (k8s.io/kubernetes/pkg/volume/util/nested_volumes.go). */
const WRITTEN_BY_KUBELET = ["configMap", "secret", "downwardAPI", "projected"];

function holdsOf({ readOnly, subPath, subPathExpr }: JsonObject, volume: JsonObject = {}): OwnMount["holds"] {
  if (WRITTEN_BY_KUBELET.some((source) => source in volume)) return subPath || subPathExpr ? "nothing" : "folders";
  const isReadOnly = Object.values(volume).some((options) => (options as JsonObject | null)?.readOnly === true);
  return readOnly === true || isReadOnly || "image" in volume || isFile(volume) ? "nothing" : "folders and files";
}

/** Whether a volume is a file of the node: FileOrCreate, Socket, CharDevice and so on. */
function isFile({ hostPath }: JsonObject = {}): boolean {
  return /File|Socket|Device/.test(String((hostPath as JsonObject | null | undefined)?.type));
}

/** How a mount and the client's are in each other's way, for the message. Undefined if they are not. */
function conflictWith(own: OwnMount, clientMounts: readonly ClientMount[]): string | undefined {
  for (const { mount, kind, needed } of clientMounts) {
    const { name, mountPath: path } = mount;
    const clientVolume = `the client's volume "${name}"`;
    if (own.path === path) return `, where ${clientVolume} is mounted`;
    const isHeld = own.holds === "folders and files" || (own.holds === "folders" && kind !== "file");
    if (isBelow(path, own.path) && !isHeld) {
      return `, so ${clientVolume} cannot be mounted below it, at ${path}`;
    }
    if (!isBelow(own.path, path)) continue;
    if (kind === "file") return `, but ${path} is a file of ${clientVolume}`;
    if (kind === "read-only folder") return `, but ${path} is a read-only folder of ${clientVolume}`;
    const hidden = needed.find((each) => each === own.path || isBelow(each, own.path));
    if (hidden) return `, where it hides ${hidden} of ${clientVolume}`;
  }
  return undefined;
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder === "/" ? folder : `${folder}/`) && path !== folder;
}
