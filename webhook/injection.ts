import type { Operation } from "rfc6902";
import { type Share, unitsOf } from "../pool/share.ts";
import { type Catalogue, type Client, chooseClient } from "./catalogue.ts";
import { wrapCommand } from "./command.ts";
import { withLibraryPath } from "./environment.ts";
import { ANNOTATIONS, ASKED, UNITS } from "./keys.ts";
import { type Mode, readMode } from "./mode.ts";
import { type Json, ownerEnvironment, populateContainer, volumeMounts, volumes } from "./parts.ts";
import { createPodPatch } from "./patch.ts";
import type { Container, Pod } from "./pod.ts";
import { Refusal } from "./refusal.ts";
import { readShare } from "./share.ts";

export interface InjectionSettings {
  readonly catalogue: Catalogue;
  /** Memory of one GPU, in MB; shares of memory are refused without it. */
  readonly gpuMemoryMb?: number;
}

/** What is to be done to a pod. */
export interface Injection {
  /** RFC 6902; empty if the pod is left alone. */
  readonly operations: readonly Operation[];
  /** For the log. */
  readonly reason: string;
}

/**
 * What makes a pod's GPU containers run under the pool's client. Computed on the raw object, so that nothing of it is lost;
 * injecting the result again changes nothing, for it asks for no share any more.
 *
 * @throws {Refusal}
 */
export function inject(pod: Pod, settings: InjectionSettings): Injection {
  const { annotations = {} } = pod.metadata;
  const mode = readMode(annotations);
  if (mode === "off") return { operations: [], reason: "Not annotated" };
  const injected = structuredClone(pod);
  const { spec } = injected;
  const shares = new Map<Container, Share>();
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    const share = readShare(container);
    if (share) shares.set(container, share);
  }
  if (shares.size === 0) return { operations: [], reason: "No container asks for a share" };

  const client = chooseClient(settings.catalogue, annotations);
  const filters = annotations[ANNOTATIONS.filter]?.split(/\s+/).filter(Boolean) ?? [];
  for (const [container, share] of shares) {
    setUnits(container, countUnits(container, share, settings));
    equip(container, { mode, client, share, filters });
  }
  spec.volumes = addMissing(spec.volumes ?? [], volumes(), "Volume") as Pod["spec"]["volumes"];
  spec.initContainers = putFirst(spec.initContainers ?? [], populateContainer(client)) as Pod["spec"]["initContainers"];
  injected.metadata.annotations = { ...annotations, [ANNOTATIONS.status]: "injected" };
  return {
    operations: createPodPatch(pod, injected),
    reason: `Injected into ${[...shares.keys()].map(({ name }) => name).join(", ")}`,
  };
}

function countUnits({ name }: Container, share: Share, { gpuMemoryMb }: InjectionSettings): number {
  if ("percent" in share) return unitsOf(share, 0);
  const field = `Container "${name}": limits["${ASKED.memory}"] is ${share.memoryMb} MB`;
  if (gpuMemoryMb === undefined)
    throw new Refusal(`${field}: the memory of the pool's GPUs is not known here, use ${ASKED.percent}`);
  if (share.memoryMb > gpuMemoryMb)
    throw new Refusal(`${field}: expected at most ${gpuMemoryMb} MB, the memory of one GPU`);
  return unitsOf(share, gpuMemoryMb);
}

/** Kubernetes wants the limit and the request of an extended resource alike. */
function setUnits(container: Container, units: number): void {
  const { limits = {}, requests = {} } = container.resources ?? {};
  const own = limits[UNITS] ?? requests[UNITS];
  if (own !== undefined && String(own) !== String(units)) {
    throw new Refusal(
      `Container "${container.name}": limits["${UNITS}"] is "${own}", but its share is ${units} units: leave it out`,
    );
  }
  const rest = (list: Record<string, string | number>) =>
    Object.fromEntries(Object.entries(list).filter(([key]) => !(Object.values(ASKED) as string[]).includes(key)));
  container.resources = {
    ...container.resources,
    limits: { ...rest(limits), [UNITS]: String(units) },
    requests: { ...rest(requests), [UNITS]: String(units) },
  };
}

interface Equipment {
  mode: Mode;
  client: Client;
  share: Share;
  filters: readonly string[];
}

function equip(container: Container, { mode, client, share, filters }: Equipment): void {
  if (mode === "full") container.command = wrapCommand(container, { binary: client.binary, share, filters });
  const environment = addMissing(container.env ?? [], ownerEnvironment(container.name), "Variable");
  container.env = withLibraryPath(environment, client.libraryPath) as Container["env"];
  const own = container.volumeMounts ?? [];
  for (const mount of volumeMounts()) {
    const taken = own.find(({ mountPath }) => mountPath === mount.mountPath);
    if (taken)
      throw new Refusal(
        `Container "${container.name}": "${taken.name}" is mounted at ${taken.mountPath}, which the client needs`,
      );
  }
  container.volumeMounts = [...own, ...volumeMounts()] as Container["volumeMounts"];
}

/** Adds what is not there yet. Something else under the same name is the user's: a refusal. */
function addMissing(list: readonly Json[], additions: readonly Json[], what: string): Json[] {
  const missing = additions.filter((addition) => {
    const same = list.find(({ name }) => name === addition.name);
    if (same && !includes(same, addition)) {
      throw new Refusal(
        `${what} "${addition.name}" is the pod's own: expected another name, the client needs this one`,
      );
    }
    return !same;
  });
  return [...list, ...missing];
}

/** Before the user's init containers and sidecars, which may use the client. */
function putFirst(list: readonly Json[], container: Json): Json[] {
  const [added] = addMissing(list, [container], "Init container").slice(list.length);
  return added ? [added, ...list] : [...list];
}

/** Whether all of `expected` is in `actual`, which the API server may have filled with defaults. */
function includes(actual: unknown, expected: unknown): boolean {
  if (typeof expected !== "object" || expected === null) return actual === expected;
  if (typeof actual !== "object" || actual === null) return false;
  if (Array.isArray(expected) && (!Array.isArray(actual) || actual.length !== expected.length)) return false;
  return Object.entries(expected).every(([key, value]) => includes((actual as Json)[key], value));
}
