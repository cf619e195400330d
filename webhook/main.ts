import { connectKubernetes, type KubernetesApi } from "../kubernetes/client.ts";
import { createEventRecorder } from "../kubernetes/events.ts";
import { type Inventory, totalUnits } from "../pool/inventory.ts";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { createTokenSource } from "../pool/token/token_source.ts";
import { serveProbes } from "../program/http/probes.ts";
import { type ProgramContext, runProgram } from "../program/run.ts";
import { writeCaBundles } from "./certificates/ca_bundles.ts";
import { type CertificateSource, createFileSource, createSecretSource } from "./certificates/certificate_source.ts";
import { ALLOCATIONS, waitForAllocation } from "./claims/allocation.ts";
import type { Catalogue } from "./clients/catalogue.ts";
import { createCatalogueReport } from "./clients/catalogue_report.ts";
import { followCatalogue } from "./clients/catalogue_source.ts";
import { createReviewLog } from "./fast/review_log.ts";
import { createHandlers } from "./handlers.ts";
import { createApp } from "./review/app.ts";
import { createMetrics } from "./review/metrics.ts";
import { createHttpsServer } from "./review/server.ts";
import { readSettings } from "./settings.ts";
import { assumeTokenExists, createTokenCopier } from "./tokens/tokens.ts";

/** Name of the webhook's Service and of its webhook configurations (webhook/deploy). */
const NAME = "bitfusion-webhook";

/** Name of the program in its logs. */
const PROGRAM = "webhook";

/** How often a pool server is polled, in ms. */
const POOL_INTERVAL = 10_000;

type Settings = ReturnType<typeof readSettings>;

/** The admission webhook: attaches the pool's client to annotated pods. */
await runProgram(PROGRAM, async ({ environment, log, writeLine, signal }) => {
  const settings = readSettings(environment);
  const { TOTAL_GPU_MEMORY: gpuMemoryMb, POOL_SERVERS: servers, POOL_TOKEN: folder } = settings;
  const ownCertificate = settings.TLS_CERT_FILE === undefined;
  const needsApi = settings.TOKENS === "copy" || ownCertificate || settings.ALLOCATION === "claims";
  const api = needsApi ? connectKubernetes() : undefined; // reviews in flight may need it after the signal
  const interruptible = api && connectKubernetes(signal);

  let pool: Inventory | undefined;
  const metrics = createMetrics({ poolUnits: () => pool && totalUnits(pool) });
  const record = api && createEventRecorder({ request: api.request, component: NAME });
  const onFailure = createCatalogueReport({
    namespace: settings.POD_NAMESPACE,
    log,
    reloads: metrics.catalogueReloads,
    record,
  });
  const catalogues = followCatalogue({ path: settings.CLIENTS_FILE, onFailure }, signal);
  let catalogue = (await catalogues.next()).value as Catalogue;

  let ready = false;
  // without POOL_SERVERS nothing is published
  let allocation = settings.ALLOCATION ?? (api && servers ? undefined : "units");
  const notReady = () => {
    if (!ready) return "No certificate yet";
    return allocation ? undefined : "Not known yet whether the API server supports claims by capacity";
  };
  const detail = () => `ok: ALLOCATION=${allocation}`;
  const handlers = createHandlers({
    settings: () => ({
      catalogue,
      pool,
      allocation: allocation ?? "units",
      ...(gpuMemoryMb === undefined ? {} : { gpuMemoryMb }),
    }),
    ensureToken:
      api && settings.TOKENS === "copy"
        ? createTokenCopier({ core: api.core, log, copies: metrics.tokenCopies })
        : assumeTokenExists,
  });
  const app = createApp({
    ...handlers,
    log,
    logReview: createReviewLog(PROGRAM, writeLine),
    metrics,
    notReady,
    detail,
  });
  await using probes = await serveProbes({ port: settings.METRICS_PORT, notReady, detail, metrics: metrics.registry });
  log.info("Started", { metricsPort: probes.port });
  await using server = createHttpsServer({ port: settings.PORT, fetch: app.fetch });

  const serve = async () => {
    for await (const certificate of certificateSource(interruptible, settings, log)(signal)) {
      const port = await server.use(certificate);
      ready = true;
      log.info("Serving", { port, metricsPort: probes.port });
    }
  };
  const followClients = async () => {
    for await (const next of catalogues) {
      catalogue = next;
      metrics.catalogueReloads.inc({ result: "taken" });
      log.info("Client catalogue loaded", { clients: next.clients.map(({ name }) => name) });
    }
  };
  const followPool = async () => {
    if (!servers) return;
    const connect = async () => (api ?? connectKubernetes()).request;
    const token = createTokenSource({ folder, connect, log });
    const source = createPoolSource(servers, { interval: POOL_INTERVAL, token, log });
    for await (const inventory of source(signal)) pool = inventory;
  };
  const allocate = async () => {
    if (!interruptible) return; // nothing can be detected
    allocation ??= await waitForAllocation(interruptible.resource, { namespace: settings.POD_NAMESPACE, log, signal });
    if (!allocation) return; // the program ended before the API server responded
    log.info("Allocation", { allocation, meaning: ALLOCATIONS[allocation] });
  };
  await Promise.all([serve(), followClients(), followPool(), allocate()]);
});

/**
 * The certificate in TLS_CERT_FILE and TLS_KEY_FILE if they are set, else one in a Secret that the webhook maintains.
 */
function certificateSource(
  api: KubernetesApi | undefined,
  { TLS_CERT_FILE, TLS_KEY_FILE, POD_NAMESPACE }: Settings,
  log: ProgramContext["log"],
): CertificateSource {
  if (TLS_CERT_FILE && TLS_KEY_FILE) return createFileSource({ cert: TLS_CERT_FILE, key: TLS_KEY_FILE }, log);
  const { core, admissionRegistration } = api ?? connectKubernetes();
  const service = `${NAME}.${POD_NAMESPACE}.svc`;
  return createSecretSource({
    core,
    namespace: POD_NAMESPACE,
    name: `${NAME}-tls`,
    dnsNames: [service, `${service}.cluster.local`],
    publish: ({ ca }) => writeCaBundles(admissionRegistration, NAME, ca, Date.now()),
    log,
    now: Date.now,
  });
}
