// Runs last: it looks at what the programs have done during the other tests.
import { beforeAll, expect, test } from "bun:test";
import { isAllowed, type NetworkPolicy } from "../../kubernetes/network_policies.ts";
import { readAuditLog, readConnectionLog } from "../cluster/records.ts";
import { connectionsOf, type PlacedPod, parseFlows } from "../records/connections.ts";
import {
  checkedRights,
  describeRight,
  grantedRights,
  requestsOf,
  requestsWithoutRight,
  unusedRights,
} from "../records/rights.ts";
import { INSTALL_TIMEOUT, install, KUSTOMIZATIONS } from "../steps/installation.ts";
import { apply, get, kubectl, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { type Manifest, renderManifests } from "../steps/manifests.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const SYSTEM = ["-n", "bitfusion-system"];
const CONTROLLER = ["deployment/bitfusion-controller", ...SYSTEM];
const [SERVER_A, SERVER_B] = ["server.hostname=bitfusion-pool-a", "server.hostname=bitfusion-pool-b"];
const KEEP_RUNNING = ["sleep", "600"];

beforeAll(() => install("claims"), INSTALL_TIMEOUT);

/** The spec of a claim that nothing can allocate. */
const CLAIM = { devices: { requests: [{ name: "gpu", exactly: { deviceClassName: "none.example" } }] } };

/** The events of a pod that have this reason. */
async function eventsOf(namespace: string, pod: string, reason: string): Promise<{ count: number; message: string }[]> {
  const selector = `--field-selector=involvedObject.name=${pod},reason=${reason}`;
  return (await get<{ items: { count: number; message: string }[] }>("events", "-n", namespace, selector)).items;
}

scenario(
  "a new leader removes old templates, counts a repeated event, and leaves a claim alone that is not the pod's",
  async (namespace) => {
    const inNamespace = ["-n", namespace];
    await apply({
      apiVersion: "resource.k8s.io/v1",
      kind: "ResourceClaimTemplate",
      metadata: {
        name: "old",
        namespace,
        labels: { "app.kubernetes.io/managed-by": "bitfusion-webhook" },
        annotations: { "bitfusion.io/last-used": "2025-01-01T00:00:00Z" },
      },
      spec: { spec: CLAIM },
    });
    const whole = { namespace, num: 1, percent: 100, filter: SERVER_B, command: KEEP_RUNNING };
    await apply(sharePod({ ...whole, name: "holder" }));
    await kubectl("wait", ...inNamespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
    await apply(sharePod({ ...whole, name: "waits" }));
    const isCounted = async (times: number) =>
      (await eventsOf(namespace, "waits", "WaitingForPool")).some(({ count }) => count >= times);
    await waitFor("the event of the pod that waits", () => isCounted(1));
    let claim = "";
    await kubectl("scale", ...CONTROLLER, "--replicas=0");
    try {
      const label = "app.kubernetes.io/name=bitfusion-controller";
      await kubectl("wait", ...SYSTEM, "pod", "-l", label, "--for=delete", "--timeout=60s");
      await apply(sharePod({ namespace, name: "robbed", num: 1, percent: 10, filter: SERVER_A }));
      const { metadata } = await get<{ metadata: { annotations: Record<string, string> } }>(
        "pod",
        "robbed",
        ...inNamespace,
      );
      claim = JSON.parse(metadata.annotations["bitfusion.io/claims"] ?? "")[0].name;
      const taken = { apiVersion: "resource.k8s.io/v1", kind: "ResourceClaim", metadata: { name: claim, namespace } };
      await apply({ ...taken, spec: CLAIM });
    } finally {
      await kubectl("scale", ...CONTROLLER, "--replicas=2");
      await kubectl("rollout", "status", ...CONTROLLER, "--timeout=120s");
    }
    await waitFor("the event of the pod whose claim is taken", async () => {
      const events = await eventsOf(namespace, "robbed", "ClaimsNotCreated");
      return events.some(({ message }) => message.includes(`claim ${claim} exists and belongs to no pod`));
    });
    await waitFor("the second count of the event", () => isCounted(2));
    await waitFor("the removal of the template", async () => {
      return (await kubectl("get", "resourceclaimtemplates", ...inNamespace, "-o", "name")) === "";
    });
    await kubectl("delete", "resourceclaim", claim, ...inNamespace);
    await waitForSuccess(namespace, "robbed");
  },
);

scenario("a certificate that cannot be read is replaced, and reviews go on", async (namespace) => {
  const secret = ["secret", "bitfusion-webhook-tls", ...SYSTEM];
  await kubectl("patch", ...secret, "--type=merge", "-p", JSON.stringify({ data: { "tls.crt": "" } }));
  await waitFor("a new certificate", async () => {
    return (await get<{ data: Record<string, string> }>(...secret)).data["tls.crt"] !== "";
  });
  await apply(sharePod({ namespace, name: "after", num: 1, percent: 5 }));
  await waitForSuccess(namespace, "after");
});

// Some rights are used by one test only: this needs `bun run e2e -- --all`.
test("the programs have used each right that they have, and requested nothing else", async () => {
  const manifests = [
    ...(await renderManifests(KUSTOMIZATIONS.units)), // has all rights of the base, too
    ...(await renderManifests("e2e/cluster/console")),
  ];
  const granted = grantedRights(manifests);
  const requests = requestsOf(await readAuditLog());
  const allowed = requests.filter(({ isAllowed }) => isAllowed);
  const used = [...allowed, ...checkedRights(manifests, requests)];
  expect(unusedRights(granted, used).map(describeRight)).toEqual([]);
  const others = requestsWithoutRight(granted, requests).map(describeRight);
  expect([...new Set(others)]).toEqual([]);
});

interface Pod {
  metadata: Manifest["metadata"] & { namespace: string };
  spec: { hostNetwork?: boolean; containers: { ports?: { name?: string; containerPort: number }[] }[] };
  status: { podIP?: string; conditions?: { type: string; lastTransitionTime: string }[] };
}

/** The pods of the cluster that have an address of their own. */
async function placedPods(): Promise<PlacedPod[]> {
  const namespaces = await get<{ items: Manifest[] }>("namespaces");
  const labelsOf = new Map(namespaces.items.map(({ metadata: { name, labels = {} } }) => [name, labels]));
  const { items } = await get<{ items: Pod[] }>("pods", "-A");
  return items.flatMap(({ metadata: { namespace, labels = {} }, spec, status: { podIP, conditions = [] } }) => {
    const placed = conditions.find(({ type }) => type === "PodReadyToStartContainers"); // it has an address
    if (spec.hostNetwork || !podIP || !placed) return [];
    const ports = spec.containers.flatMap(({ ports = [] }) => ports);
    return {
      address: podIP,
      since: Date.parse(placed.lastTransitionTime),
      pod: {
        namespace,
        labels,
        namespaceLabels: labelsOf.get(namespace) ?? {},
        ports: Object.fromEntries(ports.map(({ name = "", containerPort }) => [name, containerPort])),
      },
    };
  });
}

test("the NetworkPolicies allow each connection of the programs", async () => {
  const policies = (await get<{ items: NetworkPolicy[] }>("networkpolicies", "-A")).items;
  const connections = connectionsOf(parseFlows(await readConnectionLog()), await placedPods());
  const describe = ({ from, to, protocol, port }: (typeof connections)[number]) =>
    [from, to].map(({ address, pod }) => pod?.labels["app.kubernetes.io/name"] ?? address).join(" → ") +
    ` ${protocol} ${port}`;
  const refused = connections.filter((connection) => !isAllowed(policies, connection)).map(describe);
  expect(refused).toEqual([]);
  // The record has what the programs always do. It ends on a node that restarts, so not each program may be in it.
  const ports = new Set(connections.map(({ protocol, port }) => `${protocol} ${port}`));
  for (const port of ["UDP 53", "TCP 6443", "TCP 56001"]) expect(ports).toContain(port);
});
