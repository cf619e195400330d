import {
  type AdmissionregistrationV1Api,
  type AdmissionregistrationV1WebhookClientConfig,
  PatchStrategy,
  setHeaderOptions,
} from "@kubernetes/client-node";

/**
 * Writes the CA to the caBundle of each webhook in the MutatingWebhookConfiguration and the
 * ValidatingWebhookConfiguration of this name. Bundles that contain the CA are left alone: a replica that has not read
 * a renewed certificate yet must not remove the new CA.
 *
 * @param ca one or more certificates, in PEM
 */
export async function writeCaBundles(api: AdmissionregistrationV1Api, name: string, ca: string): Promise<void> {
  const options = setHeaderOptions("Content-Type", PatchStrategy.JsonPatch);
  const mutating = missingBundles((await api.readMutatingWebhookConfiguration({ name })).webhooks, ca);
  if (mutating.length > 0) await api.patchMutatingWebhookConfiguration({ name, body: mutating }, options);
  const validating = missingBundles((await api.readValidatingWebhookConfiguration({ name })).webhooks, ca);
  if (validating.length > 0) await api.patchValidatingWebhookConfiguration({ name, body: validating }, options);
}

type Webhook = { clientConfig: AdmissionregistrationV1WebhookClientConfig };

/** JSON Patch operations for the webhooks whose bundle lacks the CA. */
function missingBundles(webhooks: readonly Webhook[] = [], ca: string) {
  const value = Buffer.from(ca).toString("base64");
  return webhooks.flatMap(({ clientConfig }, index) =>
    contains(clientConfig.caBundle, ca) ? [] : [{ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value }],
  );
}

function contains(caBundle: string | undefined, ca: string): boolean {
  const bundle = Buffer.from(caBundle ?? "", "base64").toString();
  const certificates = ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return certificates.every((pem) => bundle.includes(pem));
}
