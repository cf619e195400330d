import {
  type AdmissionregistrationV1Api,
  type AdmissionregistrationV1WebhookClientConfig,
  PatchStrategy,
  setHeaderOptions,
} from "@kubernetes/client-node";

/**
 * Tells the API server which CAs to trust for the webhooks of the MutatingWebhookConfiguration and the
 * ValidatingWebhookConfiguration of this name. Writes only what is missing: a replica that has not heard of a renewal yet must
 * not take the new CA away.
 *
 * @param ca one certificate or more, in PEM.
 */
export async function writeCaBundles(api: AdmissionregistrationV1Api, name: string, ca: string): Promise<void> {
  const options = setHeaderOptions("Content-Type", PatchStrategy.JsonPatch);
  const mutating = missing((await api.readMutatingWebhookConfiguration({ name })).webhooks, ca);
  if (mutating.length > 0) await api.patchMutatingWebhookConfiguration({ name, body: mutating }, options);
  const validating = missing((await api.readValidatingWebhookConfiguration({ name })).webhooks, ca);
  if (validating.length > 0) await api.patchValidatingWebhookConfiguration({ name, body: validating }, options);
}

type Webhook = { clientConfig: AdmissionregistrationV1WebhookClientConfig };

/** JSON Patch operations for the webhooks that do not trust `ca` yet. */
function missing(webhooks: readonly Webhook[] = [], ca: string) {
  const value = Buffer.from(ca).toString("base64");
  return webhooks.flatMap(({ clientConfig }, index) =>
    trusts(clientConfig.caBundle, ca) ? [] : [{ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value }],
  );
}

function trusts(caBundle: string | undefined, ca: string): boolean {
  const bundle = Buffer.from(caBundle ?? "", "base64").toString();
  const certificates = ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return certificates.every((pem) => bundle.includes(pem));
}
