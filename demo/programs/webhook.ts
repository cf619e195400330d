import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startProgram } from "../../program/processes/child_program.ts";
import { freePort } from "../../program/testing.ts";
import { createCertificate } from "../../tls/certificate.ts";
import type { PodWebhook } from "../cluster/admission.ts";
import { waitFor } from "../wait_for.ts";
import type { ProgramOptions } from "./options.ts";

/** The webhook in a process of its own. Disposal ends it. */
export interface Webhook extends PodWebhook, AsyncDisposable {
  /** Resolves once the webhook is ready, as the Service of a cluster waits for it. */
  waitUntilReady(signal: AbortSignal): Promise<void>;
}

export async function startWebhook({ folder, kubeconfig }: ProgramOptions): Promise<Webhook> {
  const { ca, cert, key } = await createCertificate(["localhost"], Date.now());
  const [certFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
  await writeFile(certFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  const port = await freePort();
  const program = startProgram("webhook/main.ts", {
    environment: {
      PORT: String(port),
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
      KUBECONFIG: kubeconfig,
    },
    ready: "Serving",
  });
  const url = `https://localhost:${port}`;
  return {
    url,
    caBundle: ca,
    async waitUntilReady(signal) {
      await program.started;
      const isReady = async () => (await fetch(`${url}/readyz`, { tls: { ca }, signal })).ok || undefined;
      await waitFor("the webhook's /readyz", isReady, signal);
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}
