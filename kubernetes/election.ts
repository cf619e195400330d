import { isDeepStrictEqual } from "node:util";
import { isStatus } from "./error.ts";
import type { KubernetesRequest } from "./request.ts";

export interface ElectionOptions {
  request: KubernetesRequest;
  namespace: string;
  /** Name of the Lease. */
  name: string;
  /** Unique identity of this candidate. */
  identity: string;
  /** How long other candidates wait after the last renewal that they observed, in ms. */
  duration?: number;
}

/** A candidate for a Lease (coordination.k8s.io/v1). */
export interface Election {
  /** Who held the Lease when it was last read or written. Undefined if nobody did. */
  readonly holder: string | undefined;
  /**
   * Acquires or renews the Lease. Returns whether this candidate holds it.
   *
   * @throws if the API server does not answer: the candidate may still hold the Lease.
   */
  tryAcquire(signal: AbortSignal): Promise<boolean>;
  /**
   * Takes the Lease from whoever holds it. A leader that loses it stops when it next renews it: at the latest after its renew deadline,
   * before `duration` has passed.
   *
   * @throws {Error} if others write the Lease at the same time again and again.
   */
  takeOver(signal: AbortSignal): Promise<void>;
  /** Gives the Lease up if this candidate holds it, so that others do not wait until it expires. */
  release(): Promise<void>;
}

interface Lease {
  readonly metadata: object;
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** A conflict may come from a writer that does not compete, for example one that sets a label. */
const ATTEMPTS = 3;

/** Follows the rules of client-go's leaderelection: expiry is judged by the local clock alone, since clocks differ. */
export function createElection(options: ElectionOptions): Election {
  const { request, namespace, name, identity, duration = 15_000 } = options;
  const collection = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const path = `${collection}/${name}`;
  let observed: Lease["spec"];
  let observedAt = Number.NEGATIVE_INFINITY;

  async function read(signal?: AbortSignal): Promise<Lease | undefined> {
    try {
      const response = await request(path, signal ? { signal } : {});
      return (await response.json()) as Lease;
    } catch (error) {
      if (isStatus(error, 404)) return undefined;
      throw error;
    }
  }

  /** Returns false on a conflict. The resourceVersion of a read Lease makes a late or concurrent write fail. */
  async function write(lease: Lease | undefined, signal: AbortSignal): Promise<boolean> {
    const now = microTime();
    const { holderIdentity, acquireTime = now, leaseTransitions = 0 } = lease?.spec ?? {};
    const isHolder = holderIdentity === identity;
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(duration / 1000),
      acquireTime: isHolder ? acquireTime : now,
      renewTime: now,
      leaseTransitions: lease && !isHolder ? leaseTransitions + 1 : leaseTransitions,
    };
    try {
      const response = lease
        ? await request(path, { method: "PUT", body: { ...lease, spec }, signal })
        : await request(collection, { method: "POST", body: { ...TYPE, metadata: { name }, spec }, signal });
      observe((await response.json()) as Lease);
      return true;
    } catch (error) {
      if (isStatus(error, 409)) return false;
      throw error;
    }
  }

  function observe({ spec }: Lease): void {
    if (isDeepStrictEqual(spec, observed)) return;
    observed = spec;
    observedAt = performance.now();
  }

  function isHeldByOther({ spec }: Lease): boolean {
    const { holderIdentity = "", leaseDurationSeconds = 0 } = spec ?? {};
    const hasExpired = performance.now() - observedAt >= leaseDurationSeconds * 1000;
    return holderIdentity !== "" && holderIdentity !== identity && !hasExpired;
  }

  return {
    get holder() {
      return observed?.holderIdentity || undefined;
    },
    async tryAcquire(signal) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const lease = await read(signal);
        signal.throwIfAborted(); // a late answer must not lead to a write after release()
        if (lease) observe(lease);
        if (lease && isHeldByOther(lease)) return false;
        if (await write(lease, signal)) return true;
      }
      return false;
    },
    async takeOver(signal) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) if (await write(await read(signal), signal)) return;
      throw new Error(`Cannot take over the Lease ${name}: others write it at the same time`);
    },
    async release() {
      const lease = await read();
      if (lease?.spec?.holderIdentity !== identity) return;
      const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: microTime() };
      await request(path, { method: "PUT", body: { ...lease, spec } });
    },
  };
}

const TYPE = { apiVersion: "coordination.k8s.io/v1", kind: "Lease" };

/** The current time as a MicroTime (k8s.io/apimachinery/pkg/apis/meta/v1). */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
