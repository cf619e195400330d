import type { Environment } from "../../program/environment.ts";
import { messageOf } from "../../program/log/log.ts";
import { createChangePrinter } from "./change_printer.ts";
import { findLease } from "./lease_slots.ts";
import { openLocalPort } from "./local_port.ts";

/** A container of the pod, and the port at 127.0.0.1 that leads to its GPUs. */
export interface ContainerPort {
  readonly container: string;
  /** TCP port; 0 selects a free port. */
  readonly port: number;
}

export interface ForwardOptions {
  ports: readonly ContainerPort[];
  environment: Environment;
  print: (message: string) => void;
  /** How long a connection is kept waiting while it cannot be carried on, in ms. */
  patience?: number;
}

/** Ports of the pod, in the order of the options. Disposal closes them and their connections. */
export interface Forward extends Disposable {
  readonly ports: readonly ContainerPort[];
}

/**
 * Opens a port for each container that has GPUs, which leads to the data-plane process of its lease. Whatever is away or missing, the ports stay
 * open: Kubernetes would not start the pod's containers if the sidecar ended (kubernetes/kubernetes#132826).
 *
 * @throws {ConfigError} if a port is in use.
 */
export async function forward({ ports, environment, print, ...options }: ForwardOptions): Promise<Forward> {
  using stack = new DisposableStack();
  const opened: ContainerPort[] = [];
  for (const { container, port } of ports) {
    const printChange = createChangePrinter((line) => print(`Container ${container}: ${line}`));
    const find = () => findLease(environment, container);
    const setting = `--container ${container}`;
    const local = stack.use(await openLocalPort({ port, setting, findLease: find, print: printChange, ...options }));
    opened.push({ container, port: local.port });
    print(`Forwarding 127.0.0.1:${local.port} to the GPUs of container ${container}`);
    find().catch((error) => printChange(`Connections will wait: ${messageOf(error)}`));
  }
  const owned = stack.move();
  return { ports: opened, [Symbol.dispose]: () => owned.dispose() };
}
