import { createClient } from "@connectrpc/connect";
import type { GrpcChannel } from "../../grpc/client.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { PoolClient } from "./pool_servers.ts";

/** The servers that answer their watch. Calls to them need no connection of their own. */
export interface WatchedServers {
  /** A client on the connection of the server's watch. Undefined while the server does not answer. */
  client(address: string): PoolClient | undefined;
  /** Uses this connection for calls to the server, until disposal. */
  add(address: string, channel: GrpcChannel): Disposable;
}

export function createWatchedServers(): WatchedServers {
  const clients = new Map<string, PoolClient>();
  return {
    client: (address) => clients.get(address),
    add(address, { transport }) {
      const client = createClient(PoolService, transport);
      clients.set(address, client);
      return {
        [Symbol.dispose]() {
          if (clients.get(address) === client) clients.delete(address);
        },
      };
    },
  };
}
