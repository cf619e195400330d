import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { LEASE_FILES, LEASES_VARIABLE, type LeaseProof, parseLeases } from "../../pool/lease_folder.ts";
import { ConfigError } from "../../program/config_error.ts";
import type { Environment } from "../../program/environment.ts";
import { messageOf } from "../../program/log/log.ts";

/** A lease of the container: one entry in the `leases.json` of a claim's folder. What it says changes. */
export interface LeaseSlot {
  /** The claim's folder. */
  readonly folder: string;
  readonly index: number;
}

/** The leases of all claims of the container. @throws {ConfigError} if the driver has given it none. */
export async function findSlots(environment: Environment): Promise<LeaseSlot[]> {
  const root = environment[LEASES_VARIABLE];
  if (!root) throw new ConfigError(`${LEASES_VARIABLE} is not set: the driver has given this container no GPUs`);
  const names = await readdir(root).catch((error) => {
    throw new ConfigError(`Cannot use ${LEASES_VARIABLE}="${root}": ${messageOf(error)}`);
  });
  const slots: LeaseSlot[] = [];
  for (const name of names.toSorted()) {
    const folder = join(root, name);
    for (const index of (await readProofs(folder)).keys()) slots.push({ folder, index });
  }
  if (slots.length > 0) return slots;
  throw new ConfigError(`Cannot use ${LEASES_VARIABLE}="${root}": it has no lease`);
}

async function readProofs(folder: string): Promise<readonly LeaseProof[]> {
  const path = join(folder, LEASE_FILES.leases);
  try {
    return parseLeases(await readFile(path, "utf8"));
  } catch (error) {
    throw new ConfigError(`Cannot use ${path}: ${messageOf(error)}`);
  }
}

/** What proves a lease now, and the CAs of its server. @throws {Error} if there is no such lease any more. */
export async function readProof({ folder, index }: LeaseSlot): Promise<LeaseProof & { readonly ca: string }> {
  const proof = (await readProofs(folder))[index];
  if (!proof) throw new Error(`${join(folder, LEASE_FILES.leases)} has no lease ${index}`);
  return { ...proof, ca: await readFile(join(folder, LEASE_FILES.ca), "utf8") };
}
