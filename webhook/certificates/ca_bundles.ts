import {
  type AdmissionregistrationV1Api,
  type AdmissionregistrationV1WebhookClientConfig,
  PatchStrategy,
  setHeaderOptions,
  type V1ObjectMeta,
} from "@kubernetes/client-node";
import { isStatus } from "../../kubernetes/error.ts";
import { mergeCas } from "../../tls/ca_bundle.ts";

/** How often a configuration that changes at the same time is read again before writing it fails. */
const ATTEMPTS = 5;

/**
 * Adds the CA to the caBundle of each webhook in the MutatingWebhookConfiguration and the ValidatingWebhookConfiguration
 * of this name. The CAs in a bundle stay until they expire, because replicas may still serve with a certificate that one
 * of them signed.
 *
 * @param ca one or more certificates, in PEM
 * @param now ms since the epoch
 * @throws {KubernetesError}
 */
export async function writeCaBundles(
  api: AdmissionregistrationV1Api,
  name: string,
  ca: string,
  now: number,
): Promise<void> {
  // Entries are merged by the name of the webhook, so a list in another order does no harm.
  const options = setHeaderOptions("Content-Type", PatchStrategy.StrategicMergePatch);
  await update({
    read: () => api.readMutatingWebhookConfiguration({ name }),
    patch: (body) => api.patchMutatingWebhookConfiguration({ name, body }, options),
  });
  await update({
    read: () => api.readValidatingWebhookConfiguration({ name }),
    patch: (body) => api.patchValidatingWebhookConfiguration({ name, body }, options),
  });

  async function update({ read, patch }: Configurations): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const { metadata, webhooks = [] } = await read();
      const changed = webhooks.flatMap((webhook) => changedBundle(webhook, ca, now) ?? []);
      if (changed.length === 0) return;
      // With the version that was read, a concurrent change causes a conflict: another replica may have added its CA.
      const body = { metadata: { resourceVersion: metadata?.resourceVersion }, webhooks: changed };
      try {
        await patch(body);
        return;
      } catch (error) {
        if (!isStatus(error, 409) || attempt === ATTEMPTS) throw error;
      }
    }
  }
}

interface Webhook {
  readonly name: string;
  readonly clientConfig: AdmissionregistrationV1WebhookClientConfig;
}

interface Configurations {
  readonly read: () => Promise<{ metadata?: V1ObjectMeta; webhooks?: readonly Webhook[] }>;
  readonly patch: (body: object) => Promise<unknown>;
}

/** The webhook with its new bundle. Undefined if the bundle does not change. */
function changedBundle({ name, clientConfig }: Webhook, ca: string, now: number): Webhook | undefined {
  const before = Buffer.from(clientConfig.caBundle ?? "", "base64").toString();
  const after = mergeCas(before, ca, now);
  if (after === before) return undefined;
  return { name, clientConfig: { caBundle: Buffer.from(after).toString("base64") } };
}
