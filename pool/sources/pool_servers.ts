import { type Client, createClient } from "@connectrpc/connect";
import { connectTls, type GrpcChannel } from "../../grpc/client.ts";
import type { Latest } from "../../program/latest.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import { loadServersConf } from "../servers/load_servers_conf.ts";
import type { ServerEntry } from "../servers/server_entry.ts";
import type { Token } from "../token/token.ts";

export type PoolClient = Client<typeof PoolService>;

/** The pool's servers, as programs call them. Disposal closes the connections. */
export interface PoolServers extends Disposable {
  /** host:port of each server. @throws {Error} if none is configured. */
  addresses(): Promise<readonly string[]>;
  /** Returns once there is a token, no server is configured, or the signal is aborted. */
  ready(signal: AbortSignal): Promise<void>;
  /** A client of the server with this address. It connects on first use. @throws {Error} while there is no token. */
  client(address: string): PoolClient;
  /** The CAs of the servers, in PEM. @throws {Error} while there is no token. */
  ca(): string;
}

export interface PoolServersOptions {
  /** The servers, or the path of a servers.conf. */
  servers: readonly ServerEntry[] | string | undefined;
  /** The pool's token, once it has been read. */
  token: Latest<Token>;
}

interface Connection {
  readonly identity: TlsIdentity;
  readonly channel: GrpcChannel;
  readonly client: PoolClient;
}

/** Creates clients of the pool's servers, with the identity of the cluster. A new token is used for the next call. */
export function createPoolServers({ servers, token }: PoolServersOptions): PoolServers {
  const connections = new Map<string, Connection>();

  function identity(): TlsIdentity {
    const { current } = token;
    if (!current) throw new Error("The pool's token has not been read yet");
    if (!current.tls) throw new Error("The pool's token has no certificate: its servers speak another protocol");
    return current.tls;
  }

  return {
    async addresses() {
      if (servers === undefined) throw new Error("No pool server is configured: set POOL_SERVERS or SERVERS_CONF");
      const entries = typeof servers === "string" ? await loadServersConf(servers) : servers;
      return entries.map(({ address }) => address);
    },
    async ready(signal) {
      if (servers === undefined) return;
      for await (const _ of token.changes(signal)) break;
    },
    client(address) {
      const tls = identity();
      const known = connections.get(address);
      if (known?.identity === tls) return known.client;
      known?.channel[Symbol.dispose]();
      const channel = connectTls(address, tls);
      const client = createClient(PoolService, channel.transport);
      connections.set(address, { identity: tls, channel, client });
      return client;
    },
    ca: () => identity().ca,
    [Symbol.dispose]() {
      for (const { channel } of connections.values()) channel[Symbol.dispose]();
    },
  };
}
