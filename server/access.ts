import type { Peer } from "../grpc/peer.ts";
import { POD_UNIT } from "../pool/token/token.ts";
import type { ClientRules } from "./configuration/clients.ts";
import type { ServerGpu } from "./gpus/gpu.ts";
import type { Lease } from "./leases/ledger.ts";

/** Who calls: a cluster, or a pod of a cluster with the identity that all its pods can read. */
export interface Caller {
  readonly rules: ClientRules;
  readonly isPod: boolean;
}

/** Finds the caller in the configuration. A refusal says why there is none. */
export function findCaller(
  { name, unit }: Peer,
  clients: readonly ClientRules[],
): Caller | { readonly refusal: string } {
  if (name === "") return { refusal: "This method needs the certificate of a client" };
  const rules = clients.find((client) => client.name === name);
  const isPod = unit === POD_UNIT;
  if (!rules || !(isPod || unit === "")) return { refusal: `This server's configuration has no client "${name}"` };
  if (isPod && rules.podUnits === 0) {
    return { refusal: `This server's configuration lets pods of "${name}" hold no units: podUnits is 0` };
  }
  return { rules, isPod };
}

/** The GPUs that a client sees. */
export function gpusOf({ gpus: own }: ClientRules, gpus: readonly ServerGpu[]): readonly ServerGpu[] {
  return own === "all" ? gpus : gpus.filter(({ number, id }) => own.includes(number) || own.includes(id));
}

/** Whether the configuration still lets the holder of a lease have it. */
export function mayHold(
  lease: Pick<Lease, "holder" | "gpus">,
  clients: readonly ClientRules[],
  gpus: readonly ServerGpu[],
): boolean {
  const caller = findCaller({ name: lease.holder.client, unit: lease.holder.isPod ? POD_UNIT : "" }, clients);
  if ("refusal" in caller) return false;
  const own = gpusOf(caller.rules, gpus);
  // a GPU that the server has no more, as when it failed, is nobody else's either
  return lease.gpus.every(({ gpuId }) => own.some(({ id }) => id === gpuId) || gpus.every(({ id }) => id !== gpuId));
}
