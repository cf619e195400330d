import { expect, test } from "bun:test";
import type { NetworkPolicy } from "../../../kubernetes/network_policies.ts";
import { pod } from "../../view/testing.ts";
import { checkGate } from "./gate.ts";

type Rules = NonNullable<NetworkPolicy["spec"]["egress"]>;

const TRAIN = { ...pod("train"), metadata: { ...pod("train").metadata, labels: { app: "train" } } };
const DNS = { ports: [{ protocol: "UDP", port: 53 }] };
const gatePort = (port: number) => [{ protocol: "TCP", port }];

/** What a policy `egress` of the pod's namespace with these rules means for a server. */
function check(egress: Rules, server = "10.0.0.5:56001", spec: Partial<NetworkPolicy["spec"]> = {}) {
  const policy = {
    metadata: { name: "egress", namespace: "team" },
    spec: { policyTypes: ["Egress"] as const, egress, ...spec },
  };
  return checkGate({ pod: TRAIN, namespaceLabels: {}, policies: [policy], servers: [server] });
}

test("checkGate() finds nothing wrong without a policy for the egress of the pod", () => {
  expect(checkGate({ pod: TRAIN, namespaceLabels: {}, policies: [], servers: ["10.0.0.5:1"] }).state).toBe("ok");
  expect(check([], undefined, { podSelector: { matchLabels: { app: "other" } } }).state).toBe("ok");
  expect(check([], undefined, { policyTypes: ["Ingress"] }).state).toBe("ok");
});

test("checkGate() names the policy that closes the way, and the rule that opens it", () => {
  expect(check([])).toEqual({
    state: "failed",
    text: "Closed by the NetworkPolicy egress: no egress rule allows TCP port 56002 of 10.0.0.5",
    advice:
      "Add an egress rule for TCP port 56002, or the port of the server's gate with to: [{ipBlock: {cidr: 10.0.0.5/32}}]",
  });
  expect(check([{ to: [{ ipBlock: { cidr: "10.0.1.0/24" } }] }]).state).toBe("failed");
  expect(check([{ to: [{ podSelector: {} }] }, DNS]).state).toBe("failed");
});

test.each<[Rules, server: string]>([
  [[{}], "10.0.0.5:56001"],
  [[{ ports: gatePort(56002) }], "10.0.0.5:56001"],
  [[{ to: [{ ipBlock: { cidr: "10.0.0.0/24" } }] }], "10.0.0.5:56001"],
  [[{ to: [{ ipBlock: { cidr: "0.0.0.0/0" } }], ports: [{ port: 50_000, endPort: 60_000 }] }], "10.0.0.5:56001"],
  [[{ ports: gatePort(56002) }, DNS], "gpu-1.example:56001"],
  [[{ ports: gatePort(7000) }], "10.0.0.5:7000"],
  [[{ to: [{ ipBlock: { cidr: "fd00::/8" } }] }], "[fd00::5]:56001"],
])("checkGate() finds the way open by the rules %j", (rules, server) => {
  expect(check(rules, server).state).toBe("ok");
});

test("checkGate() does not claim to know the port of a gate, nor the address of a host", () => {
  const port = check([{ ports: gatePort(443) }]);
  expect(port.text).toContain("lets only the TCP ports 443 out to 10.0.0.5");
  const host = check([{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }, DNS], "gpu-1.example:56001");
  expect([port.state, host.state]).toEqual(["unknown", "unknown"]);
});

test("checkGate() sees that a pod cannot look up the name of its server", () => {
  const rules = [{ to: [{ ipBlock: { cidr: "0.0.0.0/0" } }], ports: gatePort(56002) }];
  expect(check(rules, "gpu-1.example:56001")).toMatchObject({
    state: "failed",
    text: "Closed by the NetworkPolicy egress: the pod cannot look up gpu-1.example",
  });
  const dns = { to: [{ namespaceSelector: {} }], ports: [{ protocol: "UDP", port: 53 }] };
  expect(check([...rules, dns], "gpu-1.example:56001").state).toBe("ok");
});
