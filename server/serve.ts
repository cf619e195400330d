import { X509Certificate } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Registry } from "prom-client";
import { ConfigError } from "../program/config_error.ts";
import { readEnvironment } from "../program/environment.ts";
import { listenOn } from "../program/http/listen.ts";
import { serveProbes } from "../program/http/probes.ts";
import { createLatest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import { collectProcessMetrics } from "../program/process_metrics.ts";
import type { ProgramContext } from "../program/run.ts";
import { isUsable, type TlsIdentity } from "../tls/key_pair.ts";
import { partsForRestart } from "./configuration/configuration.ts";
import { followConfiguration, type LoadedConfiguration } from "./configuration/configuration_source.ts";
import { createServerIdentity } from "./configuration/server_identity.ts";
import { openGpus } from "./gpus/open_gpus.ts";
import { createLeaseStore, type LeaseStore } from "./leases/lease_store.ts";
import { servePodResources } from "./podresources/serve.ts";
import { type PoolServerOptions, startServer } from "./pool_server.ts";
import { SETTINGS } from "./settings.ts";

/** How often the server checks whether its certificate needs renewal, in ms. */
const RENEWAL_PERIOD = 6 * 3600_000;

/**
 * Serves the GPUs of the configuration until the signal is aborted.
 *
 * @param program the command of this program, without arguments
 * @throws {ConfigError} if the configuration is invalid, or its GPUs cannot be used.
 */
export async function serve({ environment, log, signal }: ProgramContext, program: readonly string[]): Promise<void> {
  const { CONFIG_FILE } = readEnvironment(SETTINGS, environment);
  const ended = new AbortController();
  const untilEnded = AbortSignal.any([signal, ended.signal]);
  const configuration = createLatest<LoadedConfiguration>();
  const follow = async () => {
    for await (const next of followConfiguration(CONFIG_FILE, log, untilEnded)) configuration.set(next);
  };
  const following = follow().finally(() => ended.abort());
  following.catch(() => {}); // awaited below
  await using resources = new AsyncDisposableStack();
  let running: RunningServer | undefined;
  for await (const next of configuration.changes(untilEnded, RENEWAL_PERIOD)) {
    if (running) await running.update(next);
    else running = resources.use(await start(next, { program, log }));
  }
  await following;
}

/** A server that takes over what may change while it runs. */
interface RunningServer extends AsyncDisposable {
  update(changed: LoadedConfiguration): Promise<void>;
}

async function start(
  used: LoadedConfiguration,
  { program, log }: { program: readonly string[]; log: Logger },
): Promise<RunningServer> {
  const { name, listen, hasRdma, leases, state, dataPlane, gate, podResources, metrics, clients, drain } = used;
  const newestIdentity = createServerIdentity({ name, now: Date.now });
  async function identityOf({ tls }: LoadedConfiguration): Promise<TlsIdentity> {
    const identity = await newestIdentity(tls);
    if (!isUsable(identity, [], Date.now())) {
      const { validTo } = new X509Certificate(identity.cert);
      log.warn("The server's certificate must be replaced", { validTo });
    }
    return identity;
  }
  await using resources = new AsyncDisposableStack();
  const source = resources.use(await openGpus(used.gpus, { idPrefix: `${name}:${listen.port}`, program, log }));
  const options: PoolServerOptions = {
    ...listen,
    tls: await identityOf(used),
    facts: { hostname: name, hasRdma, ...source.facts },
    gpus: source.gpus,
    clients,
    draining: drain,
    timeToLive: leases.timeToLive,
    podTimeToLive: leases.podTimeToLive,
    store: state === undefined ? undefined : await openLeases(state, log),
    dataPlane: dataPlane && { configuration: dataPlane, gatePort: gate.port },
    log,
  };
  const { host, port } = listen;
  const field = host === undefined ? "listen.port" : `listen.host="${host}" and listen.port`;
  const server = resources.use(await listenOn(field, port, () => startServer(options)));
  if (podResources) {
    const now = { leases: server.ledger.leases, gpus: () => server.state.gpus };
    resources.use(await servePodResources({ ...podResources, ...now }));
  }
  if (metrics) resources.use(await openMetrics(metrics, server.metrics.registry, log));
  source.onChange(server.setGpus);
  source.onProcesses(server.readProcesses);
  const opened = resources.move();
  log.info("Pool server started", { port: server.port, hostname: name, gpus: source.gpus.length });
  return {
    async update(changed) {
      const parts = partsForRestart(used, changed);
      if (parts.length > 0) log.warn("Restart the server to use the changed configuration", { parts });
      const identity = await identityOf(changed);
      if (!isDeepStrictEqual(changed.clients, server.state.clients)) {
        log.info("Clients changed", { clients: changed.clients.map(({ name }) => name) });
        server.setClients(changed.clients);
      }
      if (changed.drain !== server.state.draining) server.setDraining(changed.drain);
      server.useTls(identity);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

async function openMetrics(
  { host, port }: NonNullable<LoadedConfiguration["metrics"]>,
  metrics: Registry,
  log: Logger,
): Promise<AsyncDisposable> {
  collectProcessMetrics(metrics);
  const setting = `metrics.host="${host}" and metrics.port`;
  const probes = await serveProbes({ host, port, setting, notReady: () => undefined, metrics });
  log.info("Metrics served", { host, port: probes.port });
  return probes;
}

/** Opens the leases in a folder, which is created if it does not exist. @throws {ConfigError} if it cannot be. */
async function openLeases(folder: string, log: Logger): Promise<LeaseStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: Error) => {
    throw new ConfigError(`Cannot use state="${folder}": ${error.message}`);
  });
  return createLeaseStore({ path: join(folder, "leases.json"), log });
}
