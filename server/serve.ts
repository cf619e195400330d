import { X509Certificate } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { readEnvironment } from "../program/environment.ts";
import { listenOn } from "../program/http/listen.ts";
import { createLatest } from "../program/latest.ts";
import type { ProgramContext } from "../program/run.ts";
import { isUsable } from "../tls/key_pair.ts";
import { followConfiguration, type LoadedConfiguration } from "./configuration/configuration_source.ts";
import { createServerIdentity } from "./configuration/server_identity.ts";
import { simulatedGpus } from "./gpus/simulated.ts";
import { createLeaseStore } from "./leases/lease_store.ts";
import { startServer } from "./pool_server.ts";
import { SETTINGS } from "./settings.ts";

/** How often the server checks whether its certificate needs renewal, in ms. */
const RENEWAL_PERIOD = 6 * 3600_000;

/** Serves simulated GPUs until the signal is aborted. @throws {ConfigError} if a setting or the configuration is invalid. */
export async function serve({ environment, log, signal }: ProgramContext): Promise<void> {
  const env = readEnvironment(SETTINGS, environment);
  const ended = new AbortController();
  const untilEnded = AbortSignal.any([signal, ended.signal]);
  const configuration = createLatest<LoadedConfiguration>();
  const follow = async () => {
    for await (const next of followConfiguration(env.CONFIG_FILE, log, untilEnded)) configuration.set(next);
  };
  const following = follow().finally(() => ended.abort());
  following.catch(() => {}); // awaited below
  const identityOf = createServerIdentity({ name: env.SERVER_NAME, now: Date.now });
  await using resources = new AsyncDisposableStack();
  let server: Awaited<ReturnType<typeof startServer>> | undefined;
  for await (const { tls, clients } of configuration.changes(untilEnded, RENEWAL_PERIOD)) {
    const identity = await identityOf(tls);
    if (!isUsable(identity, [], Date.now())) {
      const { validTo } = new X509Certificate(identity.cert);
      log.warn("The server's certificate must be replaced", { validTo });
    }
    if (server) {
      if (!isDeepStrictEqual(clients, server.state.clients)) {
        log.info("Clients changed", { clients: clients.map(({ name }) => name) });
        server.setClients(clients);
      }
      server.useTls(identity);
      continue;
    }
    const open = () =>
      startServer({
        port: env.PORT,
        tls: identity,
        facts: {
          hostname: env.SERVER_NAME,
          hasRdma: env.HAS_RDMA === "true",
          cudaVersion: env.CUDA_VERSION,
          driverVersion: env.DRIVER_VERSION,
        },
        gpus: simulatedGpus({
          count: env.GPUS,
          memoryMb: env.GPU_MEMORY,
          idPrefix: `${env.SERVER_NAME}:${env.PORT}`,
        }),
        clients,
        timeToLive: env.LEASE_TIME,
        podTimeToLive: env.POD_LEASE_TIME,
        store: env.LEASES_FILE === undefined ? undefined : createLeaseStore({ path: env.LEASES_FILE, log }),
        log,
      });
    server = resources.use(await listenOn("PORT", env.PORT, open));
    log.info("Pool server started", { port: server.port, hostname: env.SERVER_NAME, gpus: env.GPUS });
  }
  await following;
}
