import { parse, stringify } from "yaml";
import { exec } from "../steps/exec.ts";
import { CLUSTER, WORKERS } from "../steps/kubectl.ts";

/** The node of the API server. */
const CONTROL_PLANE = `${CLUSTER}-control-plane`;

/** The nodes that run pods of the programs. */
const NODES = [CONTROL_PLANE, ...WORKERS];

const POLICY = { hostPath: "e2e/cluster/audit_policy.yaml", containerPath: "/etc/kubernetes/audit/policy.yaml" };
const AUDIT_LOG = "/var/log/kubernetes/audit.log";
const CONNECTION_LOG = "/var/log/connections.log";

interface KindConfig {
  nodes: readonly { role: string; extraMounts?: readonly object[] }[];
  kubeadmConfigPatches?: readonly string[];
}

/** Adds to a kind configuration that the API server records the requests of the programs. */
export function recordRequests(kindConfig: string): string {
  const { nodes, kubeadmConfigPatches = [], ...rest } = parse(kindConfig) as KindConfig;
  return stringify({
    ...rest,
    nodes: nodes.map(({ extraMounts = [], ...node }) => ({
      ...node,
      extraMounts: node.role === "control-plane" ? [...extraMounts, { ...POLICY, readOnly: true }] : extraMounts,
    })),
    kubeadmConfigPatches: [...kubeadmConfigPatches, ...auditPatches()],
  });
}

/** The flags of the API server, for both versions of kubeadm's configuration: kind applies the one that it uses. */
function auditPatches(): string[] {
  const flags = { "audit-policy-file": POLICY.containerPath, "audit-log-path": AUDIT_LOG };
  const list = Object.entries(flags).map(([name, value]) => ({ name, value }));
  const extraVolumes = [
    volume("audit-policy", "/etc/kubernetes/audit", true),
    volume("audit-log", "/var/log/kubernetes", false),
  ];
  return Object.entries({ v1beta3: flags, v1beta4: list }).map(([version, extraArgs]) =>
    stringify({
      apiVersion: `kubeadm.k8s.io/${version}`,
      kind: "ClusterConfiguration",
      apiServer: { extraArgs, extraVolumes },
    }),
  );
}

/** Mounts a directory of the node at the same path. */
function volume(name: string, path: string, readOnly: boolean): object {
  return { name, hostPath: path, mountPath: path, readOnly, pathType: "DirectoryOrCreate" };
}

/** Records connections, also after a restart of the node. The buffer, in bytes, holds the events of a burst. */
const CONNECTION_UNIT = `[Service]
ExecStart=conntrack -E -e NEW -o timestamp -b 8388608
StandardOutput=append:${CONNECTION_LOG}
StandardError=append:${CONNECTION_LOG}

[Install]
WantedBy=multi-user.target
`;

/** Makes each node record the connections of its pods. */
export async function recordConnections(): Promise<void> {
  const start = "cat > /etc/systemd/system/connections.service && systemctl enable --now connections";
  const record = (node: string) => exec(["docker", "exec", "-i", node, "sh", "-c", start], { stdin: CONNECTION_UNIT });
  await Promise.all(NODES.map(record));
}

/** The audit log of the API server: one JSON object per line. */
export function readAuditLog(): Promise<string> {
  return exec(["docker", "exec", CONTROL_PLANE, "cat", AUDIT_LOG]);
}

/** The connections that all nodes have recorded, one per line. */
export async function readConnectionLog(): Promise<string> {
  return (await Promise.all(NODES.map((node) => exec(["docker", "exec", node, "cat", CONNECTION_LOG])))).join("");
}
