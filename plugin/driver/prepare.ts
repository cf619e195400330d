import { controllingPod, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { CLAIM_ANNOTATIONS } from "../../pool/driver.ts";
import type { LeaseOwner } from "../../pool/lease.ts";
import { isContainerName } from "../../pool/names.ts";
import type { PoolServers } from "../../pool/sources/pool_servers.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import {
  allocatedShares,
  type ClaimId,
  formatClaim,
  type ReadClaim,
  type ReadPod,
  type ReadSlice,
} from "./claims/claim.ts";
import { type Consumer, podsOf } from "./claims/consumers.ts";
import { findUncovered } from "./claims/gate.ts";
import type { ClaimFiles } from "./files/claim_files.ts";
import { isPreparedFor, type PreparedClaim } from "./files/prepared_claim.ts";
import { releaseLeases, takeLeases } from "./leases/leases.ts";
import { type GpuLocations, locateGpus } from "./leases/locate.ts";

export interface PreparerOptions {
  files: ClaimFiles;
  pool: PoolServers;
  /** Name of the node. */
  node: string;
  readClaim: ReadClaim;
  readPod: ReadPod;
  readSlice: ReadSlice;
  /** Called with each claim that got new leases. */
  onPrepared: (claim: PreparedClaim) => void;
  /** Longest time to prepare a claim, in ms. */
  timeout?: number;
  log: Logger;
}

/** Prepares claims and takes back what it prepared. The caller sees to it that it runs once at a time for each claim. */
export interface Preparer {
  /**
   * Checks the claim, takes its leases and writes its files. A claim that is prepared already keeps its leases.
   *
   * @throws {Error} names the claim, and why it cannot be prepared.
   */
  prepare(claim: ClaimId, signal: AbortSignal): Promise<Prepared>;
  /** Releases the leases of a claim and removes its files. A lease whose server cannot be reached expires by itself. */
  unprepare(uid: string): Promise<void>;
}

export interface Prepared {
  readonly claim: PreparedClaim;
  /** What it got new leases for. Undefined: it has those of before. */
  readonly granted?: { readonly locations: GpuLocations; readonly pods: readonly Consumer[] };
}

/** The kubelet waits for 45 s. */
const PREPARE_TIMEOUT = 30_000;

export function createPreparer(options: PreparerOptions): Preparer {
  const { files, pool, node, readClaim, readPod, readSlice, onPrepared, timeout = PREPARE_TIMEOUT, log } = options;

  async function prepare(claim: ClaimId, signal: AbortSignal): Promise<Prepared> {
    signal.throwIfAborted(); // it may have waited for the mutex
    let current: ResourceClaim | undefined;
    let uncovered: string | undefined;
    try {
      current = await readClaim(claim, signal);
      uncovered = current && (await findUncovered(current, { readClaim, readPod }, signal));
    } catch (error) {
      signal.throwIfAborted();
      return { claim: await preparedBefore(claim, error) };
    }
    const shares = allocatedShares(current, claim);
    if (uncovered) throw new Error(`Claim ${formatClaim(claim)}: ${uncovered}`);
    await pool.ready(signal);
    const prepared = await readRecord(claim.uid);
    if (prepared?.node === node && isPreparedFor(shares, prepared)) {
      await files.write(prepared, pool.ca(), signal); // the CDI file may be gone
      return { claim: prepared };
    }
    if (prepared) await release(prepared); // the claim was allocated again
    const named = (error: unknown): never => {
      throw new Error(`Claim ${formatClaim(claim)}: ${messageOf(error)}`);
    };
    const containers = containersOf(current);
    const leased = { ...claim, owner: ownerOf(current, containers, claim), node, shares };
    const locations = await locateGpus(shares, { pool, readSlice }, signal).catch(named);
    const leases = await takeLeases(leased, locations, pool, signal).catch(named);
    const taken = { ...leased, containers, leases };
    try {
      // Not once the kubelet has given up: it may have asked another instance to unprepare the claim by then.
      await files.write(taken, pool.ca(), signal);
    } catch (error) {
      await release(taken);
      throw error;
    }
    onPrepared(taken);
    return { claim: taken, granted: { locations, pods: podsOf(current) } };
  }

  /** The record of a claim. One that cannot be read is written anew: the leases follow from the claim. */
  async function readRecord(uid: string): Promise<PreparedClaim | undefined> {
    return files.read(uid).catch((error) => {
      log.warn("Cannot read the record of a claim: it is prepared again", { uid, reason: messageOf(error) });
      return undefined;
    });
  }

  /**
   * The claim's record, for the time in which the API server does not answer. A prepared claim is not allocated again, and
   * the kubelet has just read the claim itself.
   */
  async function preparedBefore(claim: ClaimId, failure: unknown): Promise<PreparedClaim> {
    const prepared = await files.read(claim.uid).catch(() => undefined);
    if (!prepared || formatClaim(prepared) !== formatClaim(claim)) {
      throw new Error(`Claim ${formatClaim(claim)}: cannot read it from the API server`, { cause: failure });
    }
    log.warn("Cannot read a claim from the API server: it stays as it was prepared", {
      ...claim,
      reason: messageOf(failure),
    });
    return prepared;
  }

  async function release({ namespace, name, uid, leases }: ClaimId & Pick<PreparedClaim, "leases">): Promise<void> {
    for (const reason of await releaseLeases(leases, pool)) {
      log.warn("Cannot release a lease: it will expire", { namespace, name, uid, reason });
    }
  }

  return {
    async prepare(claim, signal) {
      const deadline = AbortSignal.timeout(timeout);
      return prepare(claim, AbortSignal.any([signal, deadline])).catch((error) => {
        if (!deadline.aborted || signal.aborted) throw error;
        throw new Error(`Claim ${formatClaim(claim)}: not prepared within ${timeout / 1000} s: ${messageOf(error)}`);
      });
    },
    async unprepare(uid) {
      await files.withdraw(uid);
      const prepared = await files.read(uid).catch((error) => {
        log.warn("Cannot read the record of a claim: its leases will expire", { uid, reason: messageOf(error) });
      });
      if (prepared) await release(prepared);
      await files.remove(uid);
    },
  };
}

/** Longest name of a container that pool servers accept. */
const MAX_CONTAINER_LENGTH = 63;

/** The containers that a claim is for. None if it does not say so: of a claim that somebody wrote, the annotation may be anything. */
function containersOf(claim: ResourceClaim | undefined): string[] {
  const names = claim?.metadata.annotations?.[CLAIM_ANNOTATIONS.containers]?.split(" ") ?? [];
  return names.every(isContainerName) ? names : [];
}

/** The holder that the pool servers show: the pod that the claim belongs to, or else the claim itself. It does not change. */
function ownerOf(
  claim: ResourceClaim | undefined,
  containers: readonly string[],
  { namespace, name }: ClaimId,
): LeaseOwner {
  const pod = (claim && controllingPod(claim)?.name) ?? name;
  const container = containers.join(" ");
  return { namespace, pod, container: container.length <= MAX_CONTAINER_LENGTH ? container : "" };
}
