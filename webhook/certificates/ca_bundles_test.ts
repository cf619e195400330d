import { afterEach, expect, test } from "bun:test";
import type { V1MutatingWebhook, V1ValidatingWebhook } from "@kubernetes/client-node";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { writeCaBundles } from "./ca_bundles.ts";

const NAME = "bitfusion-webhook";
const CA = pem("bmV3");
const OLD = pem("b2xk");
const BUNDLE = bundle(CA);

function pem(content: string): string {
  return `-----BEGIN CERTIFICATE-----\n${content}\n-----END CERTIFICATE-----`;
}

function bundle(...certificates: string[]): string {
  return Buffer.from(certificates.join("\n")).toString("base64");
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

/** Writes the CA for these webhooks. Returns the webhooks afterwards, and the requests. */
async function write(mutating: V1MutatingWebhook[] | "none", validating: V1ValidatingWebhook[] | "none" = mutating) {
  const contentTypes: (string | null)[] = [];
  const api = startSimulatedApiServer({
    onRequest: ({ method, headers }) => {
      if (method === "PATCH") contentTypes.push(headers.get("Content-Type"));
      return undefined;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const metadata = { name: NAME };
  if (mutating !== "none") api.mutatingWebhooks.set(NAME, { metadata, webhooks: mutating });
  if (validating !== "none") api.validatingWebhooks.set(NAME, { metadata, webhooks: validating });
  const { admissionRegistration } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const outcome = await writeCaBundles(admissionRegistration, NAME, CA).then(() => "written", String);
  const after = [api.mutatingWebhooks, api.validatingWebhooks].map((webhooks) => webhooks.get(NAME)?.webhooks);
  return {
    outcome,
    contentTypes,
    writes: api.requests.filter((request) => !request.startsWith("GET")),
    after,
  };
}

test("writeCaBundles() sets the caBundle of each webhook with a JSON patch and keeps all other fields", async () => {
  const given = [webhook("a.bitfusion.io"), webhook("b.bitfusion.io", ""), webhook("c.bitfusion.io", bundle(OLD))];
  const validating = [webhook("d.bitfusion.io")];
  const { outcome, contentTypes, after } = await write(given, validating);
  expect(outcome).toBe("written");
  expect(contentTypes).toEqual(["application/json-patch+json", "application/json-patch+json"]);
  expect(after).toEqual([given, validating].map((list) => list.map(({ name }) => webhook(name, BUNDLE))));
});

test("writeCaBundles() writes nothing if the bundles contain the CA", async () => {
  const { outcome, writes } = await write([webhook("a.bitfusion.io", BUNDLE)]);
  expect(outcome).toBe("written");
  expect(writes).toEqual([]);
});

test("writeCaBundles() leaves a bundle with more CAs alone: another replica may have renewed", async () => {
  const { writes } = await write([webhook("a.bitfusion.io", bundle(pem("bmV4dA=="), CA))]);
  expect(writes).toEqual([]);
});

test("writeCaBundles() writes only the webhook configuration that lacks the CA", async () => {
  const { writes } = await write([webhook("a.bitfusion.io", BUNDLE)], [webhook("b.bitfusion.io", bundle(OLD))]);
  expect(writes).toEqual([`PATCH /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${NAME}`]);
});

test.each<[string, V1MutatingWebhook[] | "none", V1ValidatingWebhook[] | "none"]>([
  ["mutating", "none", [webhook("a.bitfusion.io")]],
  ["validating", [webhook("a.bitfusion.io")], "none"],
])("writeCaBundles() fails if the %s webhook configuration does not exist", async (kind, mutating, validating) => {
  const { outcome } = await write(mutating, validating);
  expect(outcome).toContain(`${kind}webhookconfigurations/${NAME} answered 404`);
});
