import { listenOn } from "../program/http/listen.ts";
import type { Logger } from "../program/log/log.ts";
import type { KeyPair } from "../tls/key_pair.ts";
import type { DataPlaneConfiguration } from "./dataplane/configuration.ts";
import { createLeaseProcesses } from "./dataplane/processes.ts";
import { prepareIsolation } from "./dataplane/sandbox/isolation.ts";
import { createNamespaceConnector } from "./dataplane/sandbox/network_namespace.ts";
import { startSandbox } from "./dataplane/sandbox/sandbox.ts";
import { uidOf } from "./dataplane/sandbox/uids.ts";
import { openGate } from "./gate/gate.ts";
import type { ServerGpu } from "./gpus/gpu.ts";
import type { Lease, Ledger } from "./leases/ledger.ts";
import { createUseWatch, type UseWatch } from "./use/use_watch.ts";

/** What the users of leases are told of the data plane. */
export interface GateFacts {
  readonly port: number;
  readonly dataPlane: Pick<DataPlaneConfiguration, "name" | "build">;
}

export interface DataPlaneOptions {
  configuration: DataPlaneConfiguration;
  /** Port of the gate; 0 selects a free port. */
  gatePort: number;
  host?: string | undefined;
  tls: KeyPair;
  ledger: Ledger;
  /** The server's GPUs now. */
  gpus: () => readonly ServerGpu[];
  /** Called with the time that a lease has used GPUs, in GPU seconds. */
  onUse: (lease: Lease, gpuSeconds: number) => void;
  /** Called when the process of a lease is ended because it keeps more memory than its share. */
  onProcessEnded: (lease: Lease) => void;
  log: Logger;
}

/** The processes of leases and the gate in front of them. Disposal closes the connections and ends the processes. */
export interface DataPlane extends AsyncDisposable {
  readonly facts: GateFacts;
  readonly use: UseWatch;
  /** Uses another certificate for new connections. */
  useTls(tls: KeyPair): void;
}

/** @throws {ConfigError} if the machine does not let the processes be isolated, or the gate's port is in use. */
export async function openDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  const { configuration, gatePort, host, tls, ledger, gpus, onUse, onProcessEnded, log } = options;
  const ended = await prepareIsolation(configuration);
  if (ended > 0) log.warn("Ended the data-plane processes of an earlier run", { processes: ended });
  await using stack = new AsyncDisposableStack();
  const connector = stack.use(createNamespaceConnector());
  const processes = stack.use(
    createLeaseProcesses({ configuration, ledger, gpus, start: startSandbox, connect: connector.connect, log }),
  );
  const use = createUseWatch({
    ledger,
    gpus,
    leaseOf: (pid) => processes.leaseOf(uidOf(pid) ?? -1),
    toleranceMb: configuration.memoryTolerance,
    onUse,
    end(lease, reason) {
      processes.stop(lease.id, reason);
      onProcessEnded(lease);
    },
    log,
  });
  const connect = async (leaseId: string, left: AbortSignal) => ({ fd: await processes.connect(leaseId, left) });
  const open = () => openGate({ port: gatePort, host, tls, ledger, connect, log });
  const gate = stack.use(await listenOn("gate.port", gatePort, open));
  const { name, build } = configuration;
  log.info("Gate opened", { port: gate.port, dataPlane: name, build });
  const resources = stack.move();
  return {
    facts: { port: gate.port, dataPlane: { name, build } },
    use,
    useTls: gate.useTls,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
