import type { Share } from "../../pool/share.ts";
import type { Client } from "../clients/catalogue.ts";
import { appendTo, type Draft, setTo } from "../patch/draft.ts";
import { createPodPatch } from "../patch/patch.ts";
import type { Mode } from "../pod/mode.ts";
import type { Container } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { wrapCommand } from "./command.ts";
import { withLibraryPath } from "./environment.ts";
import type { Allocation } from "./injection.ts";
import { missingFrom } from "./missing.ts";
import { clientEnvironment, clientVariables, containerVariable, isClientVariable, volumeMounts } from "./parts.ts";

/** A container that asks for a share. */
export interface User {
  readonly container: Container;
  /** Where it is in the pod: a JSON pointer. */
  readonly path: string;
  readonly share: Share;
}

export interface Equipment {
  readonly mode: Mode;
  readonly allocation: Allocation;
  readonly client: Client;
  readonly filters: readonly string[];
}

/**
 * Makes a container run under the client. What stays of it is neither copied nor compared: on a large pod that took longer than all the
 * rest.
 *
 * @throws {Refusal}
 */
export function equip(draft: Draft, user: User, equipment: Equipment): void {
  const { container, path } = user;
  setTo(draft, `${path}/command`, container.command, commandOf(user, equipment));
  addVariables(draft, user, equipment);
  refuseTakenMounts(container, equipment.client);
  appendTo(draft, `${path}/volumeMounts`, container.volumeMounts, volumeMounts(equipment.client));
}

/** What the container then runs. */
export function commandOf(
  { container, share }: User,
  { mode, client: { binary }, filters }: Equipment,
): Container["command"] {
  return mode === "full" && binary ? wrapCommand(container, { binary, share, filters }) : container.command;
}

function addVariables(draft: Draft, { container: { name, env }, path }: User, { client, allocation }: Equipment): void {
  const list = `${path}/env`;
  const container = containerVariable(name);
  const environment = clientEnvironment[allocation](client);
  if (!env) {
    appendTo(draft, list, env, [container, ...environment]);
    return;
  }
  const isConcerned = isClientVariable(client);
  const concerned = env.filter((own) => isConcerned(own.name)); // one look at each of what may be many
  if (concerned.length === 0) {
    appendTo(draft, list, env, [container]);
    appendTo(draft, list, env, environment);
    return;
  }
  const added = missingFrom(concerned, [container, ...clientVariables[allocation](client)], "Variable");
  const changes = createPodPatch(env, withLibraryPath([...env, ...added], client.libraryPath));
  for (const change of changes) draft.own.push({ ...change, path: list + change.path });
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
