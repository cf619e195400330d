import { type AdmissionregistrationV1Api, PatchStrategy, setHeaderOptions } from "@kubernetes/client-node";

/** Tells the API server which CA to trust for the webhooks of a MutatingWebhookConfiguration. Writes only what differs. */
export async function writeCaBundle(api: AdmissionregistrationV1Api, name: string, ca: string): Promise<void> {
  const caBundle = Buffer.from(ca).toString("base64");
  const { webhooks = [] } = await api.readMutatingWebhookConfiguration({ name });
  const body = webhooks.flatMap(({ clientConfig }, index) =>
    clientConfig.caBundle === caBundle
      ? []
      : [{ op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle }],
  );
  if (body.length === 0) return;
  await api.patchMutatingWebhookConfiguration(
    { name, body },
    setHeaderOptions("Content-Type", PatchStrategy.JsonPatch),
  );
}
