import type { Inventory } from "../../pool/inventory.ts";
import { claimNameOf, shareOfTemplate } from "../claims/claim.ts";
import { type Catalogue, type Client, chooseClient } from "../clients/catalogue.ts";
import { runsClient } from "../injection/command.ts";
import type { Allocation } from "../injection/injection.ts";
import { includes, isPopulateContainer, POPULATE, volumeMounts, volumes } from "../injection/parts.ts";
import { ANNOTATIONS, ASKED, UNITS } from "../pod/keys.ts";
import { type Mode, readMode } from "../pod/mode.ts";
import { type Container, isWindows, type Pod, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { decidePod } from "../review/pod_request.ts";
import type { AdmissionRequest, Decision } from "../review/review.ts";
import { checkCapacity, checkInventory } from "./capacity.ts";

export interface ValidationSettings {
  readonly catalogue: Catalogue;
  /** The whole pool, if it is known. */
  readonly pool?: Inventory | undefined;
  /** As injection has it. */
  readonly allocation?: Allocation;
}

/** The last word, after all mutation: whether a pod that counts on the pool will get what it counts on. Pure. */
export function validate(request: AdmissionRequest, settings: ValidationSettings): Decision {
  return decidePod(request, (pod) => {
    const mode = readMode(pod.metadata.annotations ?? {});
    const containers = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
    for (const container of containers) refuseAskedKeys(container, mode, pod);
    const users = containers.filter((container) => quantityOf(container, UNITS) !== undefined);
    if (users.length === 0) return { result: "allowed", topic: "no_share", reason: "No container has units" };
    checkParts(pod, users, mode, settings.catalogue);
    if (settings.allocation === "claims") {
      checkInventory(settings.pool);
      for (const container of users) checkClaim(pod, container);
    }
    checkCapacity(pod, users, settings.pool);
    return { result: "allowed", topic: "valid", reason: "Injected and whole" };
  });
}

/** The webhook replaces these keys: one that is still there would never be counted, and the pod never get a GPU. */
function refuseAskedKeys(container: Container, mode: Mode, pod: Pod): void {
  const key = Object.values(ASKED).find((asked) => quantityOf(container, asked) !== undefined);
  if (!key) return;
  const field = `Container "${container.name}": ${key} is "${quantityOf(container, key)}"`;
  if (isWindows(pod)) throw new Refusal("share", `${field}: there is no client for Windows`);
  if (mode === "off") {
    throw new Refusal(
      "share",
      `${field}, which does nothing without the annotation ${ANNOTATIONS.mode}: "yes" on the pod`,
    );
  }
  throw new Refusal(
    "parts",
    `${field}, which was added after the webhook had seen the pod: expected it in the pod as it is created`,
  );
}

function checkParts(pod: Pod, users: readonly Container[], mode: Mode, catalogue: Catalogue): void {
  const [first] = users as [Container];
  if (mode === "off") {
    throw new Refusal(
      "parts",
      `Container "${first.name}": ${UNITS} is "${quantityOf(first, UNITS)}": expected ${ASKED.num} and ${ASKED.percent}, and the annotation ${ANNOTATIONS.mode}: "yes" on the pod`,
    );
  }
  const client = chooseClient(catalogue, pod.metadata.annotations ?? {});
  const initContainers = pod.spec.initContainers ?? [];
  const position = initContainers.findIndex((own) => isPopulateContainer(own, client));
  if (position < 0) throw broken(`Init container "${POPULATE}" is missing or changed`);
  // Others may have put theirs in front, such as a mesh its sidecar: all that matters is that nobody misses the client.
  const tooEarly = initContainers.slice(0, position).find((own) => users.includes(own));
  if (tooEarly) throw broken(`Init container "${tooEarly.name}" runs before "${POPULATE}"`);
  for (const volume of volumes(client)) {
    if (!pod.spec.volumes?.some((own) => includes(own, volume))) {
      throw broken(`Volume "${volume.name}" is missing or changed`);
    }
  }
  for (const container of users) checkContainer(container, mode, client);
}

function checkContainer(container: Container, mode: Mode, client: Client): void {
  for (const mount of volumeMounts(client)) {
    if (!container.volumeMounts?.some((own) => includes(own, mount))) {
      throw broken(`Container "${container.name}" has no mount at ${mount.mountPath}`);
    }
  }
  if (mode === "full" && client.binary && !runsClient(container.command ?? [], client.binary)) {
    throw broken(`Container "${container.name}" does not run ${client.binary}`);
  }
}

/** Without its claim a container's units would be counted, but no GPU kept for it. */
function checkClaim({ spec }: Pod, { name, resources }: Container): void {
  const claim = claimNameOf(name);
  const template = spec.resourceClaims?.find((own) => own.name === claim)?.resourceClaimTemplateName ?? "";
  if (!shareOfTemplate(template) || !resources?.claims?.some((own) => own.name === claim)) {
    throw broken(`Container "${name}" has no resource claim "${claim}"`);
  }
}

function broken(what: string): Refusal {
  return new Refusal("parts", `${what}: expected it as the webhook injects it; create the pod anew, without ${UNITS}`);
}
