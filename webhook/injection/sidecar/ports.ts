import { containersOf, type Pod } from "../../pod/pod.ts";

/** The port of each GPU container at the pod's 127.0.0.1, by the container's name. */
export type Ports = ReadonlyMap<string, number>;

/** The first port that a container gets. */
const FIRST_PORT = 14_833;

/** The ports that the pod's containers declare. */
export function declaredPorts(pod: Pod): Set<number> {
  return new Set(containersOf(pod).flatMap(({ ports = [] }) => ports.map(({ containerPort }) => containerPort)));
}

/**
 * Gives each container a port: the first ones, in this order, that neither a container of the pod declares nor another one has.
 *
 * @param assigned ports of containers that were injected before, which keep them
 */
export function assignPorts(pod: Pod, containers: readonly string[], assigned: Ports): Ports {
  const taken = declaredPorts(pod).union(new Set(assigned.values()));
  const ports = new Map(assigned);
  let port = FIRST_PORT;
  for (const container of containers) {
    while (taken.has(port)) port++;
    ports.set(container, port++);
  }
  return ports;
}
