import type { Share } from "../../pool/share.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Container } from "../pod/pod.ts";
import type { Needs } from "../review/review.ts";
import type { PatchBuilder } from "./patch_builder.ts";

/** A container that requests a share. */
export interface GpuContainer {
  readonly container: Container;
  /** JSON pointer of the container in the pod. */
  readonly path: string;
  readonly share: Share;
}

/** A mount of the client in each GPU container. */
export interface ClientMount {
  /** The mount as the container has it. */
  readonly mount: JsonObject & { readonly name: string; readonly mountPath: string };
  readonly kind: "file" | "folder" | "read-only folder";
  /** Paths of files and folders that no other mount may hide. */
  readonly needed: readonly string[];
}

/** How a client is attached to a pod. */
export interface Attachment {
  readonly volumes: readonly JsonObject[];
  readonly mounts: readonly ClientMount[];
  /** Annotations that the pod needs, by name. They replace its own. */
  readonly annotations: Readonly<Record<string, string>>;
  /** What the pod needs in its namespace. */
  readonly needs: Needs;
  /** Warnings for the user. At most 120 characters each. */
  readonly warnings: readonly string[];
  /**
   * Changes the command and the variables of a GPU container as the client needs them.
   *
   * @throws {Refusal} if the client cannot be attached to it.
   */
  attachTo(patch: PatchBuilder, gpuContainer: GpuContainer): void;
  /**
   * Adds the client's own container in front of the user's init containers and sidecars, which may use the client. Call it last: it shifts
   * their paths.
   *
   * @throws {Refusal} if the pod has another container of the same name.
   */
  addContainer(patch: PatchBuilder): void;
}
