import type { DeviceAllocation, DeviceStatus, ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { controllingPod } from "../../kubernetes/objects/resource_claim.ts";
import { deviceKey } from "../../pool/claims/device_key.ts";
import { sharesOfClaim, unitsOfShare } from "../../pool/claims/held_units.ts";
import { CLAIM_ANNOTATIONS } from "../../pool/driver.ts";
import { isContainerName } from "../../pool/names.ts";
import type { PublishedDevice } from "./gpus.ts";
import { isEnding, type PodIndex } from "./pods.ts";
import { foreignText } from "./text.ts";
import type { HeldShare, ShareState } from "./types.ts";

/** The condition that the driver sets for each allocated device. */
const READY = "Ready";

const STATES: Readonly<Record<string, ShareState>> = { True: "ready", False: "failing", Unknown: "unknown" };

interface Known {
  readonly pods: PodIndex;
  /** By {@link deviceKey}. They tell the GPU of a share before the driver does. */
  readonly published: ReadonlyMap<string, PublishedDevice>;
}

/** The shares that a claim was allocated, one for each allocation of a device. */
export function heldShares(claim: ResourceClaim, { pods, published }: Known): HeldShare[] {
  const allocations = sharesOfClaim(claim);
  if (allocations.length === 0) return [];
  const { namespace = "", name, creationTimestamp = "", annotations } = claim.metadata;
  const [first = { name: "", uid: "" }, ...others] = consumersOf(claim);
  const pod = pods.find({ namespace, ...first });
  return allocations.map((allocation, index): HeldShare => {
    const status = statusOf(claim, allocation);
    const condition = status?.conditions.find(({ type }) => type === READY);
    const { data = {} } = status ?? {};
    const { pool, device } = allocation;
    const { id = data.gpu ?? device, server = data.server } = published.get(deviceKey(pool, device)) ?? {};
    const isOver = pods.isKnown && (pod === undefined || isEnding(pod));
    const isRunning = pod?.status?.phase === "Running";
    return {
      id: `${namespace}/${name}/${index}`,
      namespace,
      claim: name,
      pod: first.name,
      podUid: first.uid,
      otherPods: others.map((each) => each.name),
      containers: containersOf(annotations),
      node: foreignText(data.node ?? pod?.spec.nodeName),
      pool,
      device,
      gpu: foreignText(id),
      server: foreignText(server),
      units: unitsOfShare(allocation),
      since: data.since ?? creationTimestamp,
      state: isOver ? "ending" : (STATES[condition?.status ?? ""] ?? (isRunning ? "unknown" : "starting")),
      message: foreignText(condition?.message),
    };
  });
}

/** The pods that use a claim: the one that it was created for first. */
function consumersOf(claim: ResourceClaim): { name: string; uid: string }[] {
  const owner = controllingPod(claim);
  const reserved = (claim.status?.reservedFor ?? []).filter(({ resource }) => resource === "pods");
  const others = reserved.filter(({ uid }) => uid !== owner?.uid);
  return [...(owner ? [owner] : []), ...others].map(({ name, uid }) => ({ name, uid }));
}

function statusOf({ status }: ResourceClaim, allocation: DeviceAllocation): DeviceStatus | undefined {
  return status?.devices?.find(
    ({ driver, pool, device, shareID }) =>
      driver === allocation.driver &&
      pool === allocation.pool &&
      device === allocation.device &&
      shareID === allocation.shareID,
  );
}

/** Tenants can write the annotation. */
function containersOf(annotations: Readonly<Record<string, string>> = {}): string[] {
  return (annotations[CLAIM_ANNOTATIONS.containers] ?? "").split(" ").filter(isContainerName);
}
