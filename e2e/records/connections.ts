import type { Connection, Endpoint } from "../../kubernetes/network_policies.ts";

/** A new connection that a node has seen. */
export interface Flow {
  /** ms since the epoch. */
  time: number;
  protocol: Connection["protocol"];
  from: string;
  /** The address that answers: that of a pod, not of its Service. */
  to: string;
  port: number;
}

/** A pod at an address of its own. */
export interface PlacedPod extends Endpoint {
  pod: NonNullable<Endpoint["pod"]>;
  /** Since when it may have had the address, in ms since the epoch. */
  since: number;
}

/**
 * A line of `conntrack -E -e NEW -o timestamp`. The second tuple is that of the answers, after translation of the destination. TCP packets of
 * a connection that conntrack has forgotten are not SYN_SENT.
 */
const LINE =
  /^\[([\d.]+)\]\s+\[NEW\] (tcp|udp)\s+\d+ \d+ (?:SYN_SENT )?src=(\S+) dst=\S+ sport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) /;

const DNS = "53";

/** Reads the TCP and UDP flows in the output of conntrack. */
export function parseFlows(log: string): Flow[] {
  return log.split("\n").flatMap((line) => {
    const [, seconds, protocol, from = "", sourcePort, to = "", port] = LINE.exec(line) ?? [];
    if (!protocol || (protocol === "udp" && sourcePort === DNS)) return []; // a late answer
    return { time: Number(seconds) * 1000, protocol: protocol === "tcp" ? "TCP" : "UDP", from, to, port: Number(port) };
  });
}

/** The connections of flows, each once. Pods at addresses that other pods had before are known by the time. */
export function connectionsOf(flows: readonly Flow[], pods: readonly PlacedPod[]): Connection[] {
  const endpoint = (address: string, time: number): Endpoint =>
    pods.find((pod) => pod.address === address && pod.since <= time) ?? { address };
  const connections = flows.map(({ time, protocol, from, to, port }): [string, Connection] => {
    const connection = { from: endpoint(from, time), to: endpoint(to, time), protocol, port };
    const isKnown = [connection.from, connection.to].map(({ pod }) => pod !== undefined);
    return [JSON.stringify([protocol, from, to, port, isKnown]), connection];
  });
  return [...new Map(connections).values()];
}
