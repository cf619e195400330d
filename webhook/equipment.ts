import type { Operation } from "rfc6902";
import type { Share } from "../pool/share.ts";
import type { Client } from "./catalogue.ts";
import { wrapCommand } from "./command.ts";
import { hasLibraryPath, withLibraryPath } from "./environment.ts";
import { missingFrom } from "./missing.ts";
import type { Mode } from "./mode.ts";
import { appendTo, setTo } from "./operations.ts";
import { variableNames, variables, volumeMounts } from "./parts.ts";
import { createPodPatch } from "./patch.ts";
import type { Container } from "./pod.ts";
import { Refusal } from "./refusal.ts";

/** A container that asks for a share. */
export interface User {
  readonly container: Container;
  /** Where it is in the pod: a JSON pointer. */
  readonly path: string;
  readonly share: Share;
}

export interface Equipment {
  readonly mode: Mode;
  readonly allocation: "units" | "claims";
  readonly client: Client;
  readonly filters: readonly string[];
}

/**
 * Makes a container run under the client. What stays of it is neither copied nor compared: on a large pod that took longer than all the
 * rest.
 *
 * @throws {Refusal}
 */
export function equip(operations: Operation[], user: User, equipment: Equipment): void {
  const { container, path } = user;
  setTo(operations, `${path}/command`, container.command, commandOf(user, equipment));
  addVariables(operations, user, equipment);
  refuseTakenMounts(container, equipment.client);
  appendTo(operations, `${path}/volumeMounts`, container.volumeMounts, volumeMounts(equipment.client));
}

/** What the container then runs. */
export function commandOf(
  { container, share }: User,
  { mode, client: { binary }, filters }: Equipment,
): Container["command"] {
  return mode === "full" && binary ? wrapCommand(container, { binary, share, filters }) : container.command;
}

function addVariables(
  operations: Operation[],
  { container: { name, env }, path }: User,
  { client, allocation }: Equipment,
): void {
  const names = variableNames(client);
  const concerned = env?.filter((own) => names.has(own.name)); // one look at each of what may be many
  const added = missingFrom(concerned, variables(client, { container: name, allocation }), "Variable");
  if (env && concerned && hasLibraryPath(concerned)) {
    const changes = createPodPatch(env, withLibraryPath([...env, ...added], client.libraryPath));
    for (const change of changes) operations.push({ ...change, path: `${path}/env${change.path}` });
  } else {
    appendTo(operations, `${path}/env`, env, withLibraryPath(added, client.libraryPath));
  }
}

function refuseTakenMounts({ name, volumeMounts: own = [] }: Container, client: Client): void {
  for (const { mountPath } of volumeMounts(client)) {
    const taken = own.find((mount) => mount.mountPath === mountPath);
    if (!taken) continue;
    throw new Refusal(
      "collision",
      `Container "${name}": "${taken.name}" is mounted at ${taken.mountPath}, which the client needs`,
    );
  }
}
