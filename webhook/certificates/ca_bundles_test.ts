import { afterEach, expect, test } from "bun:test";
import type { V1MutatingWebhook, V1MutatingWebhookConfiguration, V1ValidatingWebhook } from "@kubernetes/client-node";
import {
  connectWithKubeconfig,
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import { mergeCas } from "../../tls/ca_bundle.ts";
import { createCertificate } from "../../tls/certificate.ts";
import { writeCaBundles } from "./ca_bundles.ts";

const NAME = "bitfusion-webhook";
const [MUTATING, VALIDATING] = ["mutating", "validating"].map(
  (kind) => `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations/${NAME}`,
) as [string, string];
const NOW = Date.now();
const DAY = 24 * 3600_000;

/** The CA of a certificate that was created some days ago. It lives for 90 days. */
async function caOf(days: number): Promise<string> {
  return (await createCertificate(["localhost"], NOW - days * DAY)).ca;
}

const [CA, OTHER, PREVIOUS, EXPIRED] = await Promise.all([caOf(0), caOf(1), caOf(60), caOf(91)]);

/** A bundle of these CAs, in the order in which writeCaBundles() writes them. */
function bundle(...cas: string[]): string {
  return Buffer.from(mergeCas("", cas.join("\n"), 0)).toString("base64");
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function webhook(name: string, caBundle?: string): V1MutatingWebhook {
  const service = { namespace: "bitfusion-system", name: NAME, path: "/mutate" };
  const clientConfig = { service, ...(caBundle === undefined ? {} : { caBundle }) };
  return { name, clientConfig, admissionReviewVersions: ["v1"], sideEffects: "NoneOnDryRun", timeoutSeconds: 5 };
}

interface WriteOptions {
  mutating?: V1MutatingWebhook[];
  validating?: V1ValidatingWebhook[];
  ca?: string;
  /** Called before each write, as if another client were faster. */
  meanwhile?: (api: SimulatedApiServer) => void;
}

/** Writes the CA for these webhooks. Returns the webhooks afterwards, and the requests. */
async function write({ mutating, validating, ca = CA, meanwhile }: WriteOptions) {
  const api: SimulatedApiServer = startSimulatedApiServer({
    onRequest: ({ method }) => {
      if (method === "PATCH") meanwhile?.(api);
      return undefined;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  if (mutating) api.store.put(MUTATING, { webhooks: mutating });
  if (validating) api.store.put(VALIDATING, { webhooks: validating });
  const { admissionRegistration } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const outcome = await writeCaBundles(admissionRegistration, NAME, ca, NOW).then(() => "written", String);
  const after = [MUTATING, VALIDATING].map((path) => api.store.get<V1MutatingWebhookConfiguration>(path)?.webhooks);
  return { outcome, writes: api.requests.filter((request) => !request.startsWith("GET")), after };
}

test("writeCaBundles() sets the caBundle of each webhook and keeps all other fields", async () => {
  const mutating = [webhook("a.bitfusion.io"), webhook("b.bitfusion.io", ""), webhook("c.bitfusion.io", "eA==")];
  const validating = [webhook("d.bitfusion.io")];
  const { outcome, after } = await write({ mutating, validating });
  expect(outcome).toBe("written");
  expect(after).toEqual([mutating, validating].map((list) => list.map(({ name }) => webhook(name, bundle(CA)))));
});

test("writeCaBundles() keeps the CAs in a bundle that have not expired: replicas may serve with them", async () => {
  const mutating = [webhook("a.bitfusion.io", bundle(PREVIOUS, EXPIRED, OTHER))];
  const { after } = await write({ mutating, validating: [] });
  expect(after[0]).toEqual([webhook("a.bitfusion.io", bundle(CA, OTHER, PREVIOUS))]);
});

test.each([
  ["the CA", CA],
  ["all CAs of the Secret", `${PREVIOUS}\n${CA}`],
])("writeCaBundles() writes nothing if the bundles contain %s", async (_, ca) => {
  const webhooks = [webhook("a.bitfusion.io", bundle(CA, OTHER, PREVIOUS))];
  const { outcome, writes } = await write({ mutating: webhooks, validating: webhooks, ca });
  expect(outcome).toBe("written");
  expect(writes).toEqual([]);
});

test("writeCaBundles() writes a bundle that contains only one of two CAs", async () => {
  const webhooks = [webhook("a.bitfusion.io", bundle(PREVIOUS))];
  const { after } = await write({ mutating: webhooks, validating: webhooks, ca: `${CA}\n${PREVIOUS}` });
  expect(after).toEqual([
    [webhook("a.bitfusion.io", bundle(CA, PREVIOUS))],
    [webhook("a.bitfusion.io", bundle(CA, PREVIOUS))],
  ]);
});

test("writeCaBundles() writes only the webhook configuration that lacks the CA", async () => {
  const mutating = [webhook("a.bitfusion.io", bundle(CA))];
  const { writes } = await write({ mutating, validating: [webhook("b.bitfusion.io", bundle(OTHER))] });
  expect(writes).toEqual([`PATCH /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${NAME}`]);
});

test("writeCaBundles() gives the bundle to the right webhook if the list is reordered meanwhile", async () => {
  const [own, foreign] = [webhook("a.bitfusion.io"), webhook("b.example.com", bundle(CA, OTHER))];
  let isReordered = false;
  const { outcome, after } = await write({
    mutating: [own, foreign],
    validating: [],
    meanwhile({ store }) {
      if (isReordered) return;
      isReordered = true;
      store.put(MUTATING, { webhooks: [foreign, own] });
    },
  });
  expect(outcome).toBe("written");
  expect(after[0]).toEqual([foreign, webhook("a.bitfusion.io", bundle(CA))]);
});

test("writeCaBundles() keeps the CA that another replica adds meanwhile, and gives up if the conflicts do not end", async () => {
  let conflicts = 1;
  const options: WriteOptions = {
    mutating: [webhook("a.bitfusion.io")],
    validating: [],
    meanwhile({ store }) {
      if (conflicts-- <= 0) return;
      store.put(MUTATING, { webhooks: [webhook("a.bitfusion.io", bundle(OTHER))] });
    },
  };
  expect((await write(options)).after[0]).toEqual([webhook("a.bitfusion.io", bundle(CA, OTHER))]);
  conflicts = 100;
  const { outcome, writes } = await write(options);
  expect(outcome).toContain(`mutatingwebhookconfigurations/${NAME} answered 409`);
  expect(writes).toHaveLength(5);
});

test.each<[string, WriteOptions]>([
  ["mutating", { validating: [webhook("a.bitfusion.io")] }],
  ["validating", { mutating: [webhook("a.bitfusion.io")] }],
])("writeCaBundles() fails if the %s webhook configuration does not exist", async (kind, options) => {
  const { outcome } = await write(options);
  expect(outcome).toContain(`${kind}webhookconfigurations/${NAME} answered 404`);
});
