import { get } from "../steps/kubectl.ts";

const UNITS = "bitfusion.io/gpu";

interface Usage {
  /** Units of all Jobs that the queue has admitted. */
  readonly total: number;
  /** How many of them are above the queue's quota. */
  readonly borrowed: number;
}

interface ClusterQueue {
  readonly status: {
    readonly flavorsUsage: readonly {
      readonly resources: readonly { name: string; total: string; borrowed: string }[];
    }[];
  };
}

/** The units of a ClusterQueue that are in use, as Kueue counts them. */
export async function usageOf(clusterQueue: string): Promise<Usage> {
  const { status } = await get<ClusterQueue>("clusterqueue", clusterQueue);
  const resources = status.flavorsUsage.flatMap(({ resources }) => resources).filter(({ name }) => name === UNITS);
  const sum = (key: "total" | "borrowed") => resources.reduce((units, usage) => units + Number(usage[key]), 0);
  return { total: sum("total"), borrowed: sum("borrowed") };
}

/** What Kueue keeps about a Job or Pod. */
export interface Workload {
  readonly metadata: { readonly ownerReferences: readonly { readonly kind: string; readonly name: string }[] };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason: string }[];
    readonly admission?: { readonly podSetAssignments: readonly { readonly resourceUsage: Record<string, string> }[] };
  };
}

/** The Workload of a Job or Pod. Undefined until Kueue has created it. */
export async function workloadOf(namespace: string, owner: string): Promise<Workload | undefined> {
  const { items } = await get<{ items: Workload[] }>("workloads", "-n", namespace);
  return items.find(({ metadata }) => metadata.ownerReferences.some(({ name }) => name === owner));
}

/** All resources that Kueue has counted for an admitted Workload. Undefined if it is not admitted. */
export function countedFor(workload: Workload | undefined): Readonly<Record<string, string>> | undefined {
  return workload?.status?.admission?.podSetAssignments[0]?.resourceUsage;
}

/** The reason of a condition that is true. */
export function reasonOf(workload: Workload | undefined, type: string): string | undefined {
  return workload?.status?.conditions?.find((condition) => condition.type === type && condition.status === "True")
    ?.reason;
}
