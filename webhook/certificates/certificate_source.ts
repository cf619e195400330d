import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { CoreV1Api, V1Secret } from "@kubernetes/client-node";
import { isStatus } from "../../kubernetes/error.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { poll } from "../../program/poll.ts";
import { mergeCas } from "../../tls/ca_bundle.ts";
import { type Certificate, createCertificate } from "../../tls/certificate.ts";
import { findPairProblem, isUsable } from "../../tls/key_pair.ts";

/** How often the files and the Secret are read, in ms. */
const PERIOD = 30_000;

/** Yields the certificate to serve, and each one that replaces it. Ends with the signal. */
export type CertificateSource = (signal: AbortSignal) => AsyncIterable<Certificate>;

/**
 * Reads a certificate that another program keeps in files. Files that cannot be used, for example because only one of
 * them has been replaced yet, are logged: the last certificate stays in use. At the start the source waits for usable
 * files.
 */
export function createFileSource({ cert, key }: { cert: string; key: string }, log: Logger): CertificateSource {
  return pollCertificate(log, async () => {
    const [certText, keyText] = await Promise.all([read("TLS_CERT_FILE", cert), read("TLS_KEY_FILE", key)]);
    const problem = findPairProblem(certText, keyText);
    if (!problem) return { cert: certText, key: keyText, ca: "" };
    const file = problem.wrong === "cert" ? `TLS_CERT_FILE="${cert}"` : `TLS_KEY_FILE="${key}"`;
    throw new Error(`Cannot use ${file}: expected ${problem.expected}`);
  });
}

async function read(variable: string, path: string): Promise<string> {
  return readFile(path, "utf8").catch((error) => {
    throw new Error(`Cannot read ${variable}="${path}": ${(error as Error).message}`);
  });
}

export interface SecretSourceOptions {
  core: CoreV1Api;
  namespace: string;
  /** Name of the Secret, of type kubernetes.io/tls. */
  name: string;
  dnsNames: readonly [string, ...string[]];
  /**
   * Publishes the CA for clients. Called after each read, before the certificate is served: another writer may have
   * removed the CA.
   */
  publish: (certificate: Certificate) => Promise<void>;
  log: Logger;
  /** ms since the epoch. */
  now: () => number;
}

/**
 * How long after the CA was published a certificate waits that replaces the one in use, in ms. API servers learn of a
 * new caBundle by a watch: within a second, or some seconds under load.
 */
const PROPAGATION = 10_000;

/**
 * Keeps the certificate in a Secret that the replicas share. A replica that finds none, or an old one, creates the
 * next. The first certificate is yielded at once: the replica serves nothing without it.
 */
export function createSecretSource(options: SecretSourceOptions): CertificateSource {
  return (signal) => {
    let served: string | undefined;
    const source = pollCertificate(options.log, async () => {
      const certificate = await ensureFreshCertificate(options);
      await options.publish(certificate);
      if (served !== undefined && served !== certificate.cert) await sleep(PROPAGATION, undefined, { signal });
      served = certificate.cert;
      return certificate;
    });
    return source(signal);
  };
}

/** The certificate in the Secret. It is created if it is missing, and renewed if it is no longer fresh. */
async function ensureFreshCertificate(options: SecretSourceOptions): Promise<Certificate> {
  const { core, namespace, name, dnsNames, log, now } = options;
  for (;;) {
    const secret = await core.readNamespacedSecret({ namespace, name }).catch((error) => {
      if (isStatus(error, 404)) return undefined;
      throw error;
    });
    const current = secret && fromSecret(secret);
    if (current && isUsable(current, dnsNames, now())) return current;
    const created = await createCertificate(dnsNames, now());
    const data = toData({ ...created, ca: mergeCas(current?.ca ?? "", created.ca, now()) });
    const body: V1Secret = secret ? { ...secret, data } : { metadata: { name }, type: "kubernetes.io/tls", data };
    try {
      if (secret) await core.replaceNamespacedSecret({ namespace, name, body });
      else await core.createNamespacedSecret({ namespace, body });
      log.info("Certificate created", { namespace, name });
    } catch (error) {
      if (!isStatus(error, 409)) throw error; // another replica was faster: use its certificate
    }
  }
}

function fromSecret({ data = {} }: V1Secret): Certificate | undefined {
  const [cert, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map((name) =>
    Buffer.from(data[name] ?? "", "base64").toString(),
  );
  return cert && key && ca ? { cert, key, ca } : undefined;
}

function toData({ cert, key, ca }: Certificate): Record<string, string> {
  const encode = (text: string) => Buffer.from(text).toString("base64");
  return { "tls.crt": encode(cert), "tls.key": encode(key), "ca.crt": encode(ca) };
}

function pollCertificate(log: Logger, read: () => Promise<Certificate>): CertificateSource {
  const onFailure = (error: unknown) => log.error("Cannot get the certificate", { reason: messageOf(error) });
  return (signal) => poll(read, { period: PERIOD, onFailure }, signal);
}
