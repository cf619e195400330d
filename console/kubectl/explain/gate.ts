import { isIP } from "node:net";
import { type Endpoint, isAllowed, type NetworkPolicy } from "../../../kubernetes/network_policies.ts";
import type { Pod } from "../../../kubernetes/objects/pod.ts";
import { splitAddress } from "../../../pool/address.ts";
import type { Finding } from "./steps.ts";

/** The port of a server's gate if its configuration names no other: server/gate/configuration.ts. */
const GATE_PORT = 56_002;

const DNS_PORT = 53;

/** An address that only a rule for all addresses contains. */
const ANY_ADDRESS = "0.0.0.0";

export interface GateInput {
  pod: Pod;
  namespaceLabels: Readonly<Record<string, string>>;
  /** The policies of the pod's namespace. */
  policies: readonly NetworkPolicy[];
  /** host:port of the servers that the pod must reach. */
  servers: readonly string[];
}

/** Whether NetworkPolicies let a pod reach its servers, whose gates may have another port than is assumed. */
export function checkGate(input: GateInput): Finding {
  const { pod, policies, servers } = input;
  const selecting = policies.filter((policy) => isRestricted(input, policy)).map(({ metadata }) => metadata.name);
  if (selecting.length === 0) return { state: "ok", text: "No NetworkPolicy restricts what leaves the pod" };
  const names = `${selecting.length === 1 ? "the NetworkPolicy" : "the NetworkPolicies"} ${selecting.sort().join(", ")}`;
  for (const server of servers) {
    const { host } = splitAddress(server);
    if (
      isIP(host) === 0 &&
      !isOpen(input, { address: ANY_ADDRESS }, DNS_PORT, "UDP") &&
      !mayReachPods(policies, DNS_PORT)
    ) {
      return {
        state: "failed",
        text: `Closed by ${names}: the pod cannot look up ${host}`,
        advice: `Add an egress rule for UDP and TCP port ${DNS_PORT}`,
      };
    }
    const finding = checkServer(input, server, names);
    if (finding) return finding;
  }
  const where = servers.length === 0 ? "" : ` to ${servers.map((server) => splitAddress(server).host).join(", ")}`;
  return {
    state: "ok",
    text: `Open${where}: ${names} of ${pod.metadata.namespace} ${selecting.length === 1 ? "allows" : "allow"} it`,
  };
}

/** What is wrong with the way to a server. Undefined if nothing is. */
function checkServer(input: GateInput, server: string, names: string): Finding | undefined {
  const { host, port } = splitAddress(server);
  const isAddress = isIP(host) !== 0;
  const to = { address: isAddress ? host : ANY_ADDRESS };
  if ([GATE_PORT, port].some((each) => isOpen(input, to, each))) return undefined;
  const others = portsOf(input.policies).filter((each) => isOpen(input, to, each));
  if (others.length > 0) {
    return {
      state: "unknown",
      text: `${names} lets only the TCP ports ${others.join(", ")} out to ${host}: the gate of a server has port ${GATE_PORT} by default`,
      advice: "Ask who runs the server for the port of its gate, and add an egress rule for it",
    };
  }
  if (
    !isAddress &&
    input.policies.some(({ spec }) => spec.egress?.some(({ to }) => to?.some(({ ipBlock }) => ipBlock)))
  ) {
    return {
      state: "unknown",
      text: `${names} names addresses, and the server a host: nobody can tell here whether ${host} is among them`,
      advice: `Compare the addresses of ${host} with the ipBlocks of the policy`,
    };
  }
  const block = isAddress ? ` with to: [{ipBlock: {cidr: ${host}/${isIP(host) === 6 ? 128 : 32}}}]` : "";
  return {
    state: "failed",
    text: `Closed by ${names}: no egress rule allows TCP port ${GATE_PORT} of ${host}`,
    advice: `Add an egress rule for TCP port ${GATE_PORT}, or the port of the server's gate${block}`,
  };
}

function fromOf({ pod, namespaceLabels }: GateInput): Endpoint {
  const { namespace, labels = {} } = pod.metadata;
  return { address: "", pod: { namespace, labels, namespaceLabels, ports: {} } };
}

function isOpen(input: GateInput, to: Endpoint, port: number, protocol: "TCP" | "UDP" = "TCP"): boolean {
  return isAllowed(input.policies, { from: fromOf(input), to, protocol, port });
}

/** Whether a policy alone restricts the egress of the pod: without its rules, it allows nothing. */
function isRestricted(input: GateInput, { metadata, spec }: NetworkPolicy): boolean {
  const types = spec.policyTypes ?? ["Ingress", ...(spec.egress ? (["Egress"] as const) : [])];
  if (!types.includes("Egress")) return false;
  const closed: NetworkPolicy = { metadata, spec: { ...spec, policyTypes: ["Egress"], egress: [] } };
  return !isOpen({ ...input, policies: [closed] }, { address: ANY_ADDRESS }, GATE_PORT);
}

/** Whether a rule opens a UDP port to some pods, which may be those that answer names. */
function mayReachPods(policies: readonly NetworkPolicy[], number: number): boolean {
  return policies.some(({ spec: { egress = [] } }) =>
    egress.some(
      ({ to, ports }) =>
        to?.some(({ podSelector, namespaceSelector, ipBlock }) => podSelector ?? namespaceSelector ?? ipBlock) &&
        (!ports?.length ||
          ports.some(
            ({ protocol, port }) =>
              protocol === "UDP" && (port === undefined || port === number || typeof port === "string"),
          )),
    ),
  );
}

/** The TCP ports that rules name by number, in ascending order. */
function portsOf(policies: readonly NetworkPolicy[]): readonly number[] {
  const ports = policies.flatMap(({ spec: { egress = [] } }) =>
    egress.flatMap((rule) =>
      (rule.ports ?? []).flatMap(({ protocol = "TCP", port }) =>
        protocol === "TCP" && typeof port === "number" ? [port] : [],
      ),
    ),
  );
  return [...new Set(ports)].sort((a, b) => a - b);
}
