import { collectDefaultMetrics, Histogram, Registry } from "prom-client";
import { connectKubernetes } from "../kubernetes/client.ts";
import { serveProbes } from "../program/probes.ts";
import { type ProgramContext, runProgram } from "../program/run.ts";
import { createApp } from "./app.ts";
import { readCatalogue } from "./catalogue.ts";
import { type CertificateSource, createFileSource, createSecretSource } from "./certificate_source.ts";
import { writeCaBundle } from "./registration.ts";
import { createHttpsServer } from "./server.ts";
import { readSettings } from "./settings.ts";
import { createTokenCopier, tokensAreThere } from "./tokens.ts";

/** Name of the webhook's Service, and of the MutatingWebhookConfiguration (webhook/deploy). */
const NAME = "bitfusion-webhook";

/** The admission webhook: makes annotated pods run under the pool's client. */
await runProgram("webhook", async ({ environment, log, signal }) => {
  const settings = readSettings(environment);
  const catalogue = await readCatalogue(settings.CLIENTS_FILE);
  const certificates = certificateSource(settings, log);
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });

  let ready = false;
  const notReady = () => (ready ? undefined : "No certificate yet");
  const app = createApp({
    settings: {
      catalogue,
      ...(settings.TOTAL_GPU_MEMORY === undefined ? {} : { gpuMemoryMb: settings.TOTAL_GPU_MEMORY }),
    },
    ensureTokens: settings.TOKENS === "off" ? tokensAreThere : createTokenCopier(connectKubernetes().core, log),
    log,
    reviews: new Histogram({
      name: "bitfusion_webhook_review_duration_seconds",
      help: "Time of each admission review by result.",
      labelNames: ["result"],
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
      registers: [metrics],
    }),
    notReady,
  });
  await using probes = serveProbes({ port: settings.METRICS_PORT, notReady, metrics });
  await using server = createHttpsServer({ port: settings.PORT, fetch: (request) => app.handle(request) });
  for await (const certificate of certificates(signal)) {
    const port = await server.use(certificate);
    ready = true;
    log.info("Serving", { port, metricsPort: probes.port });
  }
});

/** The files that are named, or else a Secret of our own. */
function certificateSource(
  { TLS_CERT_FILE, TLS_KEY_FILE, POD_NAMESPACE }: ReturnType<typeof readSettings>,
  log: ProgramContext["log"],
): CertificateSource {
  if (TLS_CERT_FILE && TLS_KEY_FILE) return createFileSource({ cert: TLS_CERT_FILE, key: TLS_KEY_FILE }, log);
  const { core, admissionRegistration } = connectKubernetes();
  const service = `${NAME}.${POD_NAMESPACE}.svc`;
  return createSecretSource({
    core,
    namespace: POD_NAMESPACE,
    name: `${NAME}-tls`,
    dnsNames: [service, `${service}.cluster.local`],
    publish: ({ ca }) => writeCaBundle(admissionRegistration, NAME, ca),
    log,
    now: Date.now,
  });
}
