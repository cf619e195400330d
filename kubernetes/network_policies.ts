import { BlockList, isIPv6 } from "node:net";

/** The fields of a NetworkPolicy (networking.k8s.io/v1). */
export interface NetworkPolicy {
  metadata: { name: string; namespace?: string };
  spec: {
    podSelector?: Selector;
    policyTypes?: readonly Direction[];
    ingress?: readonly { from?: readonly Peer[]; ports?: readonly Port[] }[];
    egress?: readonly { to?: readonly Peer[]; ports?: readonly Port[] }[];
  };
}

type Direction = "Ingress" | "Egress";

interface Selector {
  matchLabels?: Readonly<Record<string, string>>;
  matchExpressions?: readonly {
    key: string;
    operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    values?: readonly string[];
  }[];
}

interface Peer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string; except?: readonly string[] };
}

interface Port {
  /** Default: TCP. */
  protocol?: string;
  /** A number, or the name of a container's port. Default: all ports. */
  port?: number | string;
  endPort?: number;
}

/** One end of a connection: a pod, or something else at an address. */
export interface Endpoint {
  address: string;
  pod?: {
    namespace: string;
    labels: Readonly<Record<string, string>>;
    /** The labels of the namespace. */
    namespaceLabels: Readonly<Record<string, string>>;
    /** Numbers of the containers' ports, by name. */
    ports: Readonly<Record<string, number>>;
  };
}

/** A connection as the pods see it: the destination of a Service is the pod or address behind it. */
export interface Connection {
  from: Endpoint;
  to: Endpoint;
  protocol: "TCP" | "UDP";
  port: number;
}

/**
 * Whether NetworkPolicies allow a connection (https://kubernetes.io/docs/concepts/services-networking/network-policies/): both the egress of
 * its source and the ingress of its destination. A direction in which no policy selects the pod is open.
 */
export function isAllowed(policies: readonly NetworkPolicy[], connection: Connection): boolean {
  const { from, to } = connection;
  return (
    permits(rulesFor(policies, from, "Egress"), to, connection) &&
    permits(rulesFor(policies, to, "Ingress"), from, connection)
  );
}

interface Rule {
  /** The namespace of the policy. */
  namespace: string | undefined;
  peers: readonly Peer[] | undefined;
  ports: readonly Port[] | undefined;
}

/** The rules that restrict an endpoint. Undefined if no policy selects it. */
function rulesFor(policies: readonly NetworkPolicy[], { pod }: Endpoint, direction: Direction): Rule[] | undefined {
  if (!pod) return undefined;
  const selecting = policies.filter(({ metadata: { namespace }, spec }) => {
    const types = spec.policyTypes ?? ["Ingress", ...(spec.egress ? ["Egress"] : [])];
    return namespace === pod.namespace && types.includes(direction) && matches(spec.podSelector, pod.labels);
  });
  if (selecting.length === 0) return undefined;
  return selecting.flatMap(({ metadata: { namespace }, spec: { ingress = [], egress = [] } }) =>
    direction === "Ingress"
      ? ingress.map(({ from, ports }) => ({ namespace, peers: from, ports }))
      : egress.map(({ to, ports }) => ({ namespace, peers: to, ports })),
  );
}

function permits(rules: readonly Rule[] | undefined, peer: Endpoint, connection: Connection): boolean {
  if (!rules) return true;
  return rules.some(
    ({ namespace, peers, ports }) =>
      (!peers?.length || peers.some((each) => matchesPeer(each, peer, namespace))) &&
      (!ports?.length || ports.some((each) => matchesPort(each, connection))),
  );
}

function matchesPeer(
  { podSelector, namespaceSelector, ipBlock }: Peer,
  { address, pod }: Endpoint,
  policyNamespace: string | undefined,
): boolean {
  if (ipBlock) {
    const { cidr, except = [] } = ipBlock;
    return contains(cidr, address) && !except.some((block) => contains(block, address));
  }
  if (!pod) return false;
  const isNamespace = namespaceSelector
    ? matches(namespaceSelector, pod.namespaceLabels)
    : pod.namespace === policyNamespace;
  return isNamespace && matches(podSelector, pod.labels);
}

function matchesPort(
  { protocol = "TCP", port, endPort }: Port,
  { protocol: used, port: number, to }: Connection,
): boolean {
  if (protocol !== used) return false;
  if (port === undefined) return true;
  if (typeof port === "string") return to.pod?.ports[port] === number;
  return port <= number && number <= (endPort ?? port);
}

/** An absent or empty selector matches everything. */
function matches(
  { matchLabels = {}, matchExpressions = [] }: Selector = {},
  labels: Readonly<Record<string, string>>,
): boolean {
  const hasLabels = Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
  return (
    hasLabels &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === "Exists") return value !== undefined;
      if (operator === "DoesNotExist") return value === undefined;
      const isOneOf = value !== undefined && values.includes(value);
      return operator === "In" ? isOneOf : !isOneOf;
    })
  );
}

function contains(cidr: string, address: string): boolean {
  const [network = "", prefix = ""] = cidr.split("/");
  const family = (ip: string) => (isIPv6(ip) ? "ipv6" : "ipv4");
  const block = new BlockList();
  block.addSubnet(network, Number(prefix), family(network));
  return block.check(address, family(address));
}
