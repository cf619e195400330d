import { EXPECTED_FILTER, type Filter, parseFilter, splitFilters } from "../../pool/filter.ts";
import { type ClaimTemplate, claimNameOf, claimTemplateOf } from "../claims/claim.ts";
import { type Catalogue, type Client, chooseClient } from "../clients/catalogue.ts";
import { appendTo, createDraft, type Draft, patchOf, setTo } from "../patch/draft.ts";
import { keepText, type Patch, type Run } from "../patch/patch_text.ts";
import { ANNOTATIONS } from "../pod/keys.ts";
import type { Mode } from "../pod/mode.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { readShare } from "../pod/share.ts";
import { commandOf, type Equipment, equip, type User } from "./equipment.ts";
import { madeOnce } from "./made_once.ts";
import { collision, missingFrom } from "./missing.ts";
import { isPopulateContainer, type Json, POPULATE, populateContainer, volumes } from "./parts.ts";
import { populateResources } from "./populate_resources.ts";
import { countUnits, withUnits } from "./units.ts";

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
  readonly patch: Patch;
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
  const users = usersOf(pod);
  if (users.length === 0) return undefined;

  const client = chooseClient(settings.catalogue, annotations);
  const filters = splitFilters(annotations[ANNOTATIONS.filter]);
  const { allocation = "units", gpuMemoryMb } = settings;
  const equipment: Equipment = { mode, client, filters, allocation };
  const draft = createDraft();
  const templates: ClaimTemplate[] = [];
  for (const user of users) {
    const { container, path, share } = user;
    const resources = withUnits(container, countUnits(container, share, gpuMemoryMb));
    if (allocation === "claims") {
      templates.push(claimTemplateOf(share, { filters: filters.map(readFilter), gpuMemoryMb: gpuMemoryMb ?? 0 }));
      resources.claims = withClaim(container);
    }
    setTo(draft, `${path}/resources`, container.resources, resources);
    equip(draft, user, equipment);
  }
  appendTo(draft, "/spec/volumes", spec.volumes, missingFrom(spec.volumes, volumes(client), "Volume"));
  addPopulate(draft, pod, users, equipment);
  if (templates.length > 0) {
    const claims = missingFrom(spec.resourceClaims, podClaimsOf(users, templates), "Resource claim");
    appendTo(draft, "/spec/resourceClaims", spec.resourceClaims, claims);
  }
  draft.shared.push(SET_STATUS);
  return {
    patch: patchOf(draft),
    containers: users.map(({ container }) => container.name),
    tokens: client.tokens,
    claimTemplates: [...new Map(templates.map((template) => [template.name, template])).values()],
    warnings: warningsAbout(pod, client, filters),
  };
}

/** Whatever it was before: "add" replaces a member that exists (RFC 6902, 4.1). */
const SET_STATUS = keepText([{ op: "add", path: "/metadata/annotations/auto-management~1status", value: "injected" }]);

/** In front of the pod's own. */
function addFirst(populate: Json): Run {
  return [{ op: "add", path: "/spec/initContainers/0", value: populate }];
}

const addPopulateFirst = madeOnce((client) => keepText(addFirst(populateContainer(client))));

function usersOf({ spec }: Pod): User[] {
  const users: User[] = [];
  for (const list of ["initContainers", "containers"] as const) {
    spec[list]?.forEach((container, index) => {
      const share = readShare(container);
      if (share) users.push({ container, path: `/spec/${list}/${index}`, share });
    });
  }
  return users;
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

/** A claim for each container: two that ask for the same share hold one each. */
function podClaimsOf(users: readonly User[], templates: readonly ClaimTemplate[]): Json[] {
  return users.map(({ container }, index) => ({
    name: claimNameOf(container.name),
    resourceClaimTemplateName: templates[index]?.name,
  }));
}

function withClaim({ name, resources }: Container): { name: string }[] {
  const claim = { name: claimNameOf(name) };
  const claims = resources?.claims ?? [];
  return missingFrom(claims, [claim], "Claim").length > 0 ? [...claims, claim] : claims;
}

/** Before the user's init containers and sidecars, which may use the client. */
function addPopulate(draft: Draft, pod: Pod, users: readonly User[], equipment: Equipment): void {
  const { client } = equipment;
  const list = pod.spec.initContainers;
  const same = list?.find(({ name }) => name === POPULATE);
  if (!same) {
    const resources = populateResources(pod, client);
    const isUsual = resources === client.resources;
    const populate = isUsual ? populateContainer(client) : { ...populateContainer(client), resources };
    if (!list) appendTo(draft, "/spec/initContainers", list, [populate]);
    else draft.shared.push(isUsual ? addPopulateFirst(client) : addFirst(populate));
  } else {
    const user = users.find(({ container }) => container === same); // it may ask for a share itself
    const command = user ? commandOf(user, equipment) : same.command;
    if (!isPopulateContainer({ ...same, command }, client)) throw collision("Init container", POPULATE);
  }
}
