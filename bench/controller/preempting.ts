import type { ClaimSummary } from "../../controller/claims/claim_index.ts";
import type { PendingPod } from "../../controller/claims/pending_pod.ts";
import type { NodePlacement } from "../../controller/nodes/placement.ts";
import type { BoundPod } from "../../controller/priorities/bound_pod.ts";
import { readHoldings } from "../../controller/priorities/holders.ts";
import { planPreemptions } from "../../controller/priorities/plan.ts";
import { readWaiters } from "../../controller/priorities/waiters.ts";
import type { WaitingClaim } from "../../pool/claims/waiting_claim.ts";
import type { PublishedGpu } from "../../pool/requests/supply.ts";

const GPUS = 10_000;
const GPUS_PER_SERVER = 8;
const NODES = 5000;
const WAITING = 1000;
/** As many decisions and victims as one round of preemptPods() has at most. */
const [DECISIONS, VICTIMS] = [30, 20];
const RUNS = 5;

const selector = { nodeSelectorTerms: [{ matchExpressions: [{ key: "ready", operator: "Exists" as const }] }] };

/**
 * Measures the CPU time of one round of preemption: 1,000 pods wait for GPUs of 10,000, all of which one to three pods of lower priority hold, on
 * 5,000 nodes.
 */
export function benchPreempting(): Record<string, string>[] {
  const pool = createPool();
  const row = (what: string, shares: number, priority: number) => {
    const rounds = Array.from({ length: RUNS }, () => runRound(pool, shares, priority));
    const best = rounds.reduce((a, b) => (b.ms < a.ms ? b : a));
    const per = best.decisions > 0 ? `${(best.ms / best.decisions).toFixed(0)} ms` : "";
    return {
      "preemption, 1,000 waiting": what,
      decisions: `${best.decisions}`,
      victims: `${best.victims}`,
      CPU: `${best.ms.toFixed(0)} ms`,
      "per decision": per,
    };
  };
  return [
    row("the same share, in vain", 1, 1),
    row("200 shares, in vain", 200, 1),
    row("the same share", 1, 10),
    row("200 shares", 200, 10),
  ];
}

type Pool = ReturnType<typeof createPool>;

function createPool() {
  const bound = new Map<string, BoundPod>();
  const claims = new Map<string, ClaimSummary>();
  const supply: PublishedGpu[] = [];
  for (let gpu = 0; gpu < GPUS; gpu++) {
    const key = `pool/gpu-${gpu}`;
    const holders = 1 + (gpu % 3);
    const units = Math.floor(100 / holders);
    for (let holder = 0; holder < holders; holder++) {
      const uid = `${gpu}-${holder}`;
      const startedAt = (gpu * 7919) % 10_007; // in another order than the GPUs
      bound.set(uid, { namespace: "low", name: uid, uid, priority: gpu === 0 ? 0 : 5, startedAt, endsAt: undefined });
      const state = { uid, shareIds: undefined };
      claims.set(`low/${uid}`, { held: new Map([[key, units]]), consumers: [uid], waiting: undefined, state });
    }
    const held = units * holders;
    const attributes = { memoryMb: 16_000, server: `server-${Math.floor(gpu / GPUS_PER_SERVER)}` };
    supply.push({ key, nodes: selector, attributes, isTainted: false, held, free: 100 - held });
  }
  const nodes = new Map<string, NodePlacement>();
  for (let node = 0; node < NODES; node++) nodes.set(`node-${node}`, { labels: { ready: "true" }, taints: [] });
  return { bound, claims, supply, nodes };
}

/** Pods that wait for so many different shares. */
function createWaiting(shares: number, priority: number): { pending: PendingPod[]; waiting: WaitingClaim[] } {
  const pods = Array.from({ length: WAITING }, (_, index) => {
    const [uid, kind] = [`waiting-${index}`, index % shares];
    const [count, units] = [1 + (kind % 4), 100 - (kind % 50)];
    const share = { gpus: count, percent: units };
    const request = { count, units, share, filters: [], oneServer: kind % 2 === 1, key: `${kind}` };
    const pod = { apiVersion: "v1", kind: "Pod", name: uid, uid };
    const claim = { name: uid, containers: ["main"], share, units, filters: [], client: "any" };
    const scheduling = {
      priority,
      mayPreempt: true,
      createdAt: index,
      nodesWithoutDevices: NODES,
      claims: 1,
      placement: {},
    };
    return {
      pending: { namespace: "high", name: uid, uid, claims: [claim], nodes: undefined, scheduling },
      waiting: { namespace: "high", createdAt: index, description: uid, pod, request },
    };
  });
  return { pending: pods.map(({ pending }) => pending), waiting: pods.map(({ waiting }) => waiting) };
}

function runRound(pool: Pool, shares: number, priority: number) {
  const { pending, waiting } = createWaiting(shares, priority);
  const never = () => false;
  const start = process.cpuUsage();
  const waiters = readWaiters(pending, waiting);
  const holdings = readHoldings({
    ...pool,
    pending: new Set(),
    isEvicted: never,
    isAbandonedRecently: never,
    now: 0,
  });
  const plan = planPreemptions({ ...pool, waiters, holdings, isProtected: never, isPaused: never });
  let [decisions, victims] = [0, 0];
  while (decisions < DECISIONS && victims < VICTIMS) {
    const { value, done } = plan.next();
    if (done) break;
    decisions++;
    if (value?.type === "preempt") victims += value.victims.length;
  }
  const { user, system } = process.cpuUsage(start);
  return { decisions, victims, ms: (user + system) / 1000 };
}
