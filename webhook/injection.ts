import type { Operation } from "rfc6902";
import { EXPECTED_FILTER, type Filter, parseFilter } from "../pool/filter.ts";
import { type Share, unitsOf } from "../pool/share.ts";
import { type Catalogue, type Client, chooseClient } from "./catalogue.ts";
import { type ClaimTemplate, claimNameOf, claimTemplateOf } from "./claim.ts";
import { wrapCommand } from "./command.ts";
import { withLibraryPath } from "./environment.ts";
import { ANNOTATIONS, ASKED, filtersOf, UNITS } from "./keys.ts";
import type { Mode } from "./mode.ts";
import {
  includes,
  isPopulateContainer,
  type Json,
  POPULATE,
  populateContainer,
  variables,
  volumeMounts,
  volumes,
} from "./parts.ts";
import { createPodPatch } from "./patch.ts";
import type { Container, Pod } from "./pod.ts";
import { Refusal } from "./refusal.ts";
import { readShare } from "./share.ts";

export interface InjectionSettings {
  readonly catalogue: Catalogue;
  /** Memory of one GPU, in MB; shares of memory are refused without it. */
  readonly gpuMemoryMb?: number;
  /** claims: the scheduler itself shares the pool. units, the default: each node counts for itself. */
  readonly allocation?: Allocation;
}

export type Allocation = "units" | "claims";

/** What is to be done to a pod. */
export interface Injection {
  /** RFC 6902. */
  readonly operations: readonly Operation[];
  /** Names of the containers that get a share. */
  readonly containers: readonly string[];
  /** Whether the pool's tokens must be in the pod's namespace. */
  readonly tokens: boolean;
  /** What the pod's namespace must have besides, none twice. */
  readonly claimTemplates: readonly ClaimTemplate[];
  /** For the user: what is odd but usable, each at most 120 characters. */
  readonly warnings: readonly string[];
}

/**
 * What makes a pod's GPU containers run under the pool's client; undefined if none asks for a share. Computed on the raw object,
 * so that nothing of it is lost; injecting the result again changes nothing, for it asks for no share any more.
 *
 * @throws {Refusal}
 */
export function inject(pod: Pod, mode: Exclude<Mode, "off">, settings: InjectionSettings): Injection | undefined {
  const { metadata, spec } = pod;
  const { annotations = {} } = metadata;
  const shares = new Map<Container, Share>();
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    const share = readShare(container);
    if (share) shares.set(container, share);
  }
  if (shares.size === 0) return undefined;

  const client = chooseClient(settings.catalogue, annotations);
  const filters = filtersOf(annotations);
  const { allocation = "units", gpuMemoryMb = 0 } = settings;
  const equipped = new Map<Container, Container>();
  const claims = new Map<Container, ClaimTemplate>();
  for (const [container, share] of shares) {
    const copy = { ...container };
    setUnits(copy, countUnits(container, share, settings));
    if (allocation === "claims") {
      claims.set(container, claimTemplateOf(share, { filters: filters.map(readFilter), gpuMemoryMb }));
      addClaim(copy);
    }
    equip(copy, { mode, client, share, filters, allocation });
    equipped.set(container, copy);
  }
  const withEquipped = (list: readonly Container[]) => list.map((container) => equipped.get(container) ?? container);
  // What stays is shared, not copied: a copy of a large pod, and comparing the two, would cost more than all the rest.
  const injected = {
    ...pod,
    metadata: { ...metadata, annotations: { ...annotations, [ANNOTATIONS.status]: "injected" } },
    spec: {
      ...spec,
      volumes: addMissing(spec.volumes ?? [], volumes(client), "Volume"),
      initContainers: withPopulate(withEquipped(spec.initContainers ?? []), client),
      containers: withEquipped(spec.containers),
      ...(claims.size > 0 ? { resourceClaims: withClaims(spec.resourceClaims ?? [], claims) } : {}),
    },
  };
  return {
    operations: createPodPatch(pod, injected),
    containers: [...shares.keys()].map(({ name }) => name),
    tokens: client.tokens,
    claimTemplates: [...new Map([...claims.values()].map((template) => [template.name, template])).values()],
    warnings: warningsAbout(pod, client, filters),
  };
}

/** @throws {Refusal} when it is none that the pool's devices can be chosen by: a client's own may have other filters. */
function readFilter(text: string): Filter {
  const filter = parseFilter(text);
  if (!filter) throw new Refusal("filter", `Annotation ${ANNOTATIONS.filter} has "${text}": ${EXPECTED_FILTER}`);
  return filter;
}

function warningsAbout(pod: Pod, { name, binary }: Client, filters: readonly string[]): string[] {
  const warnings: string[] = [];
  if (
    pod.metadata.annotations?.[ANNOTATIONS.status] !== undefined &&
    !pod.spec.initContainers?.some((own) => own.name === POPULATE)
  ) {
    warnings.push(`Annotation ${ANNOTATIONS.status} is for the webhook to set: it was ignored`);
  }
  if (filters.length > 0 && binary === undefined) {
    warnings.push(
      `Annotation ${ANNOTATIONS.filter} does nothing: the client ${name} leaves commands alone`.slice(0, 120),
    );
  }
  return warnings;
}

function countUnits({ name }: Container, share: Share, { gpuMemoryMb }: InjectionSettings): number {
  if ("percent" in share) return unitsOf(share, 0);
  const field = `Container "${name}": limits["${ASKED.memory}"] is ${share.memoryMb} MB`;
  if (gpuMemoryMb === undefined)
    throw new Refusal("share", `${field}: the memory of the pool's GPUs is not known here, use ${ASKED.percent}`);
  if (share.memoryMb > gpuMemoryMb)
    throw new Refusal("share", `${field}: expected at most ${gpuMemoryMb} MB, the memory of one GPU`);
  return unitsOf(share, gpuMemoryMb);
}

/** Kubernetes wants the limit and the request of an extended resource alike. */
function setUnits(container: Container, units: number): void {
  const { limits = {}, requests = {} } = container.resources ?? {};
  const own = limits[UNITS] ?? requests[UNITS];
  if (own !== undefined && String(own) !== String(units)) {
    throw new Refusal(
      "share",
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

/** A claim for each container: two that ask for the same share hold one each. */
function withClaims(list: readonly Json[], claims: ReadonlyMap<Container, ClaimTemplate>): Json[] {
  const own = [...claims].map(([container, template]) => ({
    name: claimNameOf(container.name),
    resourceClaimTemplateName: template.name,
  }));
  return addMissing(list, own, "Resource claim");
}

function addClaim(container: Container): void {
  const claims = addMissing(container.resources?.claims ?? [], [{ name: claimNameOf(container.name) }], "Claim");
  container.resources = { ...container.resources, claims: claims as { name: string }[] };
}

interface Equipment {
  mode: Mode;
  allocation: Allocation;
  client: Client;
  share: Share;
  filters: readonly string[];
}

function equip(container: Container, { mode, client, share, filters, allocation }: Equipment): void {
  const { binary } = client;
  if (mode === "full" && binary) container.command = wrapCommand(container, { binary, share, filters });
  const environment = addMissing(
    container.env ?? [],
    variables(client, { container: container.name, allocation }),
    "Variable",
  );
  container.env = withLibraryPath(environment, client.libraryPath) as Container["env"];
  const own = container.volumeMounts ?? [];
  for (const mount of volumeMounts(client)) {
    const taken = own.find(({ mountPath }) => mountPath === mount.mountPath);
    if (taken)
      throw new Refusal(
        "collision",
        `Container "${container.name}": "${taken.name}" is mounted at ${taken.mountPath}, which the client needs`,
      );
  }
  container.volumeMounts = [...own, ...volumeMounts(client)] as Container["volumeMounts"];
}

/** Adds what is not there yet. Something else under the same name is the user's: a refusal. */
function addMissing(list: readonly Json[], additions: readonly Json[], what: string): Json[] {
  const missing = additions.filter((addition) => {
    const same = list.find(({ name }) => name === addition.name);
    if (same && !includes(same, addition)) throw collision(what, addition.name);
    return !same;
  });
  return [...list, ...missing];
}

/** Before the user's init containers and sidecars, which may use the client. */
function withPopulate(list: readonly Json[], client: Client): Json[] {
  const same = list.find(({ name }) => name === POPULATE);
  if (same && !isPopulateContainer(same, client)) throw collision("Init container", POPULATE);
  return same ? [...list] : [populateContainer(client), ...list];
}

function collision(what: string, name: unknown): Refusal {
  return new Refusal(
    "collision",
    `${what} "${name}" is the pod's own: expected another name, the client needs this one`,
  );
}
