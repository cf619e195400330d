import { expect, test } from "bun:test";
import { connectionsOf, type PlacedPod, parseFlows } from "./records/connections.ts";

const LOG = `conntrack v1.4.7 (conntrack-tools): 2 flow events have been shown.
[1795938915.865643]	    [NEW] tcp      6 120 SYN_SENT src=10.244.1.2 dst=10.96.0.1 sport=35766 dport=443 [UNREPLIED] src=172.18.0.4 dst=172.18.0.3 sport=6443 dport=35766
[1795938915.875556]	    [NEW] udp      17 30 src=10.244.1.2 dst=10.96.0.10 sport=37091 dport=53 [UNREPLIED] src=10.244.0.3 dst=10.244.1.2 sport=53 dport=37091
[1795938916.000000]	    [NEW] icmp     1 30 src=10.244.1.2 dst=10.244.0.3 type=8 code=0 id=1 [UNREPLIED] src=10.244.0.3 dst=10.244.1.2 type=0 code=0 id=1
[1795938916.100000]	    [NEW] tcp      6 300 ESTABLISHED src=172.18.0.4 dst=10.244.1.2 sport=6443 dport=35766 [UNREPLIED] src=10.244.1.2 dst=172.18.0.4 sport=35766 dport=6443
[1795938916.200000]	    [NEW] udp      17 30 src=10.244.0.3 dst=10.244.1.2 sport=53 dport=37091 [UNREPLIED] src=10.244.1.2 dst=10.244.0.3 sport=37091 dport=53
[1795938917.500000]	    [NEW] tcp      6 120 SYN_SENT src=10.244.1.2 dst=10.96.0.1 sport=35768 dport=443 [UNREPLIED] src=172.18.0.4 dst=172.18.0.3 sport=6443 dport=35768
`;

test("parseFlows() reads TCP and UDP flows with the address behind a Service, and leaves out answers", () => {
  expect(parseFlows(LOG)).toEqual([
    { time: 1795938915865.643, protocol: "TCP", from: "10.244.1.2", to: "172.18.0.4", port: 6443 },
    { time: 1795938915875.556, protocol: "UDP", from: "10.244.1.2", to: "10.244.0.3", port: 53 },
    { time: 1795938917500, protocol: "TCP", from: "10.244.1.2", to: "172.18.0.4", port: 6443 },
  ]);
});

test("connectionsOf() names the pods that had the address at that time, each connection once", () => {
  const pod: PlacedPod["pod"] = { namespace: "bitfusion-system", labels: {}, namespaceLabels: {}, ports: {} };
  const placed = { address: "10.244.1.2", pod, since: 1795938915870 };
  const flows = parseFlows(LOG);
  expect(connectionsOf([...flows, ...flows], [placed])).toEqual([
    { from: { address: "10.244.1.2" }, to: { address: "172.18.0.4" }, protocol: "TCP", port: 6443 },
    { from: placed, to: { address: "10.244.0.3" }, protocol: "UDP", port: 53 },
    { from: placed, to: { address: "172.18.0.4" }, protocol: "TCP", port: 6443 },
  ]);
});
