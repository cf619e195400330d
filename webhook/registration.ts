import { type AdmissionregistrationV1Api, PatchStrategy, setHeaderOptions } from "@kubernetes/client-node";

/**
 * Tells the API server which CAs to trust for the webhooks of a MutatingWebhookConfiguration. Writes only what is missing: a replica
 * that has not heard of a renewal yet must not take the new CA away.
 *
 * @param ca one certificate or more, in PEM.
 */
export async function writeCaBundle(api: AdmissionregistrationV1Api, name: string, ca: string): Promise<void> {
  const { webhooks = [] } = await api.readMutatingWebhookConfiguration({ name });
  const value = Buffer.from(ca).toString("base64");
  const body = webhooks.flatMap(({ clientConfig }, index) =>
    trusts(clientConfig.caBundle, ca) ? [] : [{ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value }],
  );
  if (body.length === 0) return;
  await api.patchMutatingWebhookConfiguration(
    { name, body },
    setHeaderOptions("Content-Type", PatchStrategy.JsonPatch),
  );
}

function trusts(caBundle: string | undefined, ca: string): boolean {
  const bundle = Buffer.from(caBundle ?? "", "base64").toString();
  return (ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).every((pem) =>
    bundle.includes(pem),
  );
}
