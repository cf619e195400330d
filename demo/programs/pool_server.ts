import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { stringify } from "yaml";
import { connectTls } from "../../grpc/client.ts";
import type { GpuShare, LeaseOwner } from "../../pool/lease.ts";
import { type Program, startProgram } from "../../program/processes/child_program.ts";
import { type Gpu, PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import { CA_FOLDER, CLUSTER } from "./token.ts";

/** A pool server in a process of its own. Disposal ends it. */
export interface PoolServer extends AsyncDisposable {
  readonly name: string;
  /** host:port */
  readonly address: string;
  /** Starts the process. Resolves once it serves. */
  start(): Promise<void>;
  /** Sends SIGKILL to the process. */
  kill(): Promise<void>;
  /** Asks the server for its GPUs. */
  gpus(): Promise<readonly Gpu[]>;
  /** Asks the server for its leases. */
  leases(): Promise<readonly PoolLease[]>;
}

export interface PoolLease {
  readonly owner: LeaseOwner;
  readonly gpus: readonly GpuShare[];
}

/** Limit of one call, in ms. */
const TIMEOUT = 5000;

export interface PoolServerOptions {
  readonly name: string;
  /** TCP port on 127.0.0.1. */
  readonly port: number;
  /** Number of simulated GPUs. */
  readonly gpus: number;
  /** The folder of the demo. */
  readonly folder: string;
  /** The identity of the cluster, to ask for GPUs and leases. */
  readonly tls: TlsIdentity;
}

/** Creates a server with simulated GPUs. It is not started yet. */
export function createPoolServer({ name, port, gpus, folder, tls }: PoolServerOptions): PoolServer {
  const [host, address] = ["127.0.0.1", `127.0.0.1:${port}`];
  const path = join(folder, `${name}.yaml`);
  const configuration = {
    name,
    listen: { host, port },
    gpus: { simulated: { count: gpus } },
    tls: { ca: `${CA_FOLDER}/ca.crt`, caKey: `${CA_FOLDER}/ca.key`, hosts: [host] },
    clients: [{ name: CLUSTER, gpus: "all", podUnits: 200 }],
  };
  let program: Program | undefined;
  return {
    name,
    address,
    async start() {
      await writeFile(path, stringify(configuration));
      program = startProgram("server/main.ts", { environment: { CONFIG_FILE: path }, ready: "Pool server started" });
      await program.started;
    },
    async kill() {
      await program?.kill();
    },
    async gpus() {
      using channel = connectTls(address, tls);
      const { inventory } = await createClient(PoolService, channel.transport).getInventory({}, { timeoutMs: TIMEOUT });
      return inventory?.gpus ?? [];
    },
    async leases() {
      using channel = connectTls(address, tls);
      const { leases } = await createClient(PoolService, channel.transport).listLeases({}, { timeoutMs: TIMEOUT });
      return leases.map(({ owner, gpus }) => ({
        owner: { namespace: owner?.namespace ?? "", pod: owner?.pod ?? "", container: owner?.container ?? "" },
        gpus: gpus.map(({ gpuId, units }) => ({ gpuId, units })),
      }));
    },
    async [Symbol.asyncDispose]() {
      await program?.[Symbol.asyncDispose]();
    },
  };
}
