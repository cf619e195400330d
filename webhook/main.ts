import { connectKubernetes, type KubernetesApi } from "../kubernetes/client.ts";
import { createEventRecorder } from "../kubernetes/events.ts";
import { readNamespaceOwner } from "../kubernetes/namespace_owner.ts";
import type { OwnerReference } from "../kubernetes/objects/owner_reference.ts";
import { waitForClaimSupport } from "../pool/allocation/claim_support.ts";
import { attributesOfPool } from "../pool/attributes.ts";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { followPublishedPool } from "../pool/sources/published_pool.ts";
import { createTokenSource } from "../pool/token/token_source.ts";
import { UNITS_PER_GPU } from "../pool/units.ts";
import { serveProbes } from "../program/http/probes.ts";
import { type ProgramContext, runProgram } from "../program/run.ts";
import { expiryOf } from "../tls/key_pair.ts";
import type { KnownPool } from "./capacity/capacity.ts";
import { writeCaBundles } from "./certificates/ca_bundles.ts";
import { type CertificateSource, createFileSource, createSecretSource } from "./certificates/certificate_source.ts";
import { findMissing } from "./claims/claim_support.ts";
import type { Catalogue } from "./clients/catalogue.ts";
import { createCatalogueReport } from "./clients/catalogue_report.ts";
import { followCatalogue } from "./clients/catalogue_source.ts";
import { createReviewLog } from "./fast/review_log.ts";
import { createHandlers } from "./handlers.ts";
import { createApp } from "./review/app.ts";
import { createMetrics } from "./review/metrics.ts";
import { createHttpsServer } from "./review/server.ts";
import { readSettings } from "./settings.ts";
import { assumeTokenExists, createTokenCopier, OWNER_UNKNOWN } from "./tokens/tokens.ts";

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
  const { ALLOCATION: allocation, TOTAL_GPU_MEMORY: gpuMemoryMb, POOL_SERVERS: servers, POOL_TOKEN: folder } = settings;
  const ownCertificate = settings.TLS_CERT_FILE === undefined;
  const needsApi = allocation === "claims" || settings.TOKENS === "copy" || ownCertificate;
  const api = needsApi ? connectKubernetes() : undefined; // reviews in flight may need it after the signal
  const interruptible = api && connectKubernetes(signal);

  let pool: KnownPool;
  const metrics = createMetrics({ poolUnits: () => pool && pool.length * UNITS_PER_GPU });
  const record = api && createEventRecorder({ request: api.request, component: NAME });
  const onFailure = createCatalogueReport({
    namespace: settings.POD_NAMESPACE,
    log,
    reloads: metrics.catalogueReloads,
    record,
  });
  const catalogues = followCatalogue({ path: settings.CLIENTS_FILE, onFailure }, signal);
  let catalogue = (await catalogues.next()).value as Catalogue;

  let isServing = false;
  const copiesTokens = allocation === "units" && settings.TOKENS === "copy";
  let owner: OwnerReference | undefined;
  let noClaims =
    allocation === "claims" ? "Not known yet whether the API server supports claims by capacity" : undefined;
  const notReady = () => {
    if (!isServing) return "No certificate yet";
    return copiesTokens && !owner ? OWNER_UNKNOWN : noClaims;
  };
  const detail = () => `ok: ALLOCATION=${allocation}`;
  const handlers = createHandlers({
    settings: () => ({
      catalogue,
      pool,
      allocation,
      readNvidiaGpu: settings.READ_NVIDIA_GPU === "on",
      schedulers: settings.SCHEDULERS,
      ...(gpuMemoryMb === undefined ? {} : { gpuMemoryMb }),
    }),
    ensureToken:
      api && copiesTokens
        ? createTokenCopier({ core: api.core, owner: () => owner, log, copies: metrics.tokenCopies })
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
  log.info("Started", { allocation, metricsPort: probes.port });
  await using server = createHttpsServer({ port: settings.PORT, fetch: app.fetch });

  const serve = async () => {
    for await (const certificate of certificateSource(interruptible, settings, log)(signal)) {
      const port = await server.use(certificate);
      metrics.certificateExpiry.set(expiryOf(certificate.cert));
      isServing = true;
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
  const followServers = async () => {
    if (!servers || allocation === "claims") return;
    const connect = async () => (api ?? connectKubernetes()).request;
    const token = createTokenSource({ folder, connect, log });
    const source = createPoolSource(servers, { interval: POOL_INTERVAL, token, log });
    for await (const inventory of source(signal)) pool = attributesOfPool(inventory);
  };
  const followSlices = async () => {
    if (!api || allocation === "units") return;
    await waitForClaimSupport({
      findMissing: (signal) => findMissing(api.request, settings.POD_NAMESPACE, signal),
      log,
      onMissing: (reason) => {
        noClaims = reason;
      },
      signal,
    });
    noClaims = undefined;
    for await (const next of followPublishedPool({ request: api.request, log }, signal)) pool = next;
  };
  const awaitOwner = async () => {
    if (!api || !copiesTokens) return;
    owner = await readNamespaceOwner({ request: api.request, namespace: settings.POD_NAMESPACE, log, signal });
  };
  await Promise.all([serve(), followClients(), followServers(), followSlices(), awaitOwner()]);
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
