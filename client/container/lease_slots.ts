import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type ClaimLeases,
  LEASE_FILES,
  LEASES_VARIABLE,
  type LeaseProof,
  parseLeases,
} from "../../pool/lease_folder.ts";
import { ConfigError } from "../../program/config_error.ts";
import type { Environment } from "../../program/environment.ts";
import { messageOf } from "../../program/log/log.ts";

/** A lease of the container: one entry in the `leases.json` of a claim's folder. What it says changes. */
export interface LeaseSlot {
  /** The claim's folder. */
  readonly folder: string;
  readonly index: number;
}

/** What proves a lease, and the CAs of its server. */
export type ProvenLease = LeaseProof & { readonly ca: string };

/** The leases of all claims of this container. @throws {ConfigError} if the driver has given it none. */
export async function findSlots(environment: Environment): Promise<LeaseSlot[]> {
  return slotsOf(await readClaims(environment));
}

/**
 * The lease of a container of the pod, among those of the claims that this container has.
 *
 * @throws {ConfigError} if the driver has given none for that container, or several.
 */
export async function findLease(environment: Environment, container: string): Promise<ProvenLease> {
  const claims = await readClaims(environment);
  const own = claims.filter(({ containers }) => containers.length === 0 || containers.includes(container));
  const [slot, ...others] = slotsOf(own);
  if (!slot) throw new ConfigError(`The driver has given no lease for this container`);
  if (others.length === 0) return readProof(slot);
  throw new ConfigError(
    `The driver has given ${others.length + 1} leases for this container: expected one, of one server`,
  );
}

interface Claim extends ClaimLeases {
  readonly folder: string;
}

async function readClaims(environment: Environment): Promise<Claim[]> {
  const root = environment[LEASES_VARIABLE];
  if (!root) throw new ConfigError(`${LEASES_VARIABLE} is not set: the driver has given this container no GPUs`);
  const names = await readdir(root).catch((error) => {
    throw new ConfigError(`Cannot use ${LEASES_VARIABLE}="${root}": ${messageOf(error)}`);
  });
  const claims: Claim[] = [];
  for (const name of names.toSorted()) {
    const folder = join(root, name);
    claims.push({ folder, ...(await readLeases(folder)) });
  }
  if (claims.some(({ leases }) => leases.length > 0)) return claims;
  throw new ConfigError(`Cannot use ${LEASES_VARIABLE}="${root}": it has no lease`);
}

function slotsOf(claims: readonly Claim[]): LeaseSlot[] {
  return claims.flatMap(({ folder, leases }) => leases.map((_, index) => ({ folder, index })));
}

async function readLeases(folder: string): Promise<ClaimLeases> {
  const path = join(folder, LEASE_FILES.leases);
  try {
    return parseLeases(await readFile(path, "utf8"));
  } catch (error) {
    throw new ConfigError(`Cannot use ${path}: ${messageOf(error)}`);
  }
}

/** What proves a lease now. @throws {Error} if there is no such lease any more. */
export async function readProof({ folder, index }: LeaseSlot): Promise<ProvenLease> {
  const proof = (await readLeases(folder)).leases[index];
  if (!proof) throw new Error(`${join(folder, LEASE_FILES.leases)} has no lease ${index}`);
  return { ...proof, ca: await readFile(join(folder, LEASE_FILES.ca), "utf8") };
}
