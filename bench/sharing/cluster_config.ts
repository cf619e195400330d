import { parse, stringify } from "yaml";

/** Requests per second of the clients of control plane components. Absent: the component's default. */
export interface ClientLimits {
  readonly controllerManager?: number;
  readonly scheduler?: number;
}

/** Adds client limits to a kind configuration (kind.x-k8s.io/v1alpha4), as kubeadm.k8s.io/v1beta4 writes them. */
export function setClientLimits(kindConfig: string, limits: ClientLimits): string {
  const components = Object.entries(limits).map(([component, limit]) => [component, { extraArgs: flags(limit) }]);
  const patch = { kind: "ClusterConfiguration", ...Object.fromEntries(components) };
  return stringify({ ...parse(kindConfig), kubeadmConfigPatches: [stringify(patch)] });
}

function flags(limit: number): { name: string; value: string }[] {
  return ["kube-api-qps", "kube-api-burst"].map((name) => ({ name, value: String(limit) }));
}
