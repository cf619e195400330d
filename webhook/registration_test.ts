import { afterEach, expect, test } from "bun:test";
import type { V1MutatingWebhook } from "@kubernetes/client-node";
import { connectWith, kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { writeCaBundle } from "./registration.ts";

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

/** Writes the bundle for these webhooks; what they are then, and what was asked. */
async function write(webhooks: V1MutatingWebhook[] | undefined) {
  const contentTypes: (string | null)[] = [];
  const api = startSimulatedApiServer({
    onRequest: ({ method, headers }) => {
      if (method === "PATCH") contentTypes.push(headers.get("Content-Type"));
      return undefined;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  if (webhooks) api.webhooks.set(NAME, { metadata: { name: NAME }, webhooks });
  const { admissionRegistration } = await connectWith(kubeconfigOf(api.url));
  const outcome = await writeCaBundle(admissionRegistration, NAME, CA).then(() => "written", String);
  return { outcome, contentTypes, requests: api.requests, after: api.webhooks.get(NAME)?.webhooks };
}

test("writeCaBundle() tells the API server the CA of each webhook by a JSON patch, and keeps everything else", async () => {
  const given = [webhook("a.bitfusion.io"), webhook("b.bitfusion.io", ""), webhook("c.bitfusion.io", bundle(OLD))];
  const { outcome, contentTypes, after } = await write(given);
  expect(outcome).toBe("written");
  expect(contentTypes).toEqual(["application/json-patch+json"]);
  expect(after).toEqual(given.map(({ name }) => webhook(name, BUNDLE)));
});

test("writeCaBundle() writes nothing when the API server knows the CA", async () => {
  const { outcome, requests } = await write([webhook("a.bitfusion.io", BUNDLE)]);
  expect(outcome).toBe("written");
  expect(requests).toHaveLength(1);
});

test("writeCaBundle() leaves a bundle of more CAs alone: another replica may have renewed", async () => {
  const { requests } = await write([webhook("a.bitfusion.io", bundle(pem("bmV4dA=="), CA))]);
  expect(requests).toHaveLength(1);
});

test("writeCaBundle() fails when there is no registration", async () => {
  const { outcome } = await write(undefined);
  expect(outcome).toContain("404");
});
