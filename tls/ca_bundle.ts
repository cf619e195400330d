import { X509Certificate } from "node:crypto";

/**
 * Most certificates in a bundle. A CA is created when the previous one is at two thirds of its lifetime, or when the
 * Secret was deleted.
 */
const MAX_CAS = 10;

/**
 * Adds CAs to a bundle. The result has each certificate once, the newest first. Certificates that have expired, texts
 * that are not certificates, and the oldest of more than ten certificates are left out.
 *
 * @param bundle the certificates before, in PEM
 * @param added the certificates to add, in PEM
 * @param now ms since the epoch
 */
export function mergeCas(bundle: string, added: string, now: number): string {
  const byFingerprint = new Map<string, X509Certificate>();
  for (const certificate of parseCertificates(`${added}\n${bundle}`)) {
    if (certificate.validToDate.getTime() > now) byFingerprint.set(certificate.fingerprint256, certificate);
  }
  return [...byFingerprint.values()]
    .sort(
      (a, b) =>
        b.validFromDate.getTime() - a.validFromDate.getTime() || a.fingerprint256.localeCompare(b.fingerprint256),
    )
    .slice(0, MAX_CAS)
    .map((certificate) => certificate.toString())
    .join("");
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function parseCertificates(text: string): X509Certificate[] {
  return (text.match(PEM) ?? []).flatMap((pem) => {
    try {
      return [new X509Certificate(pem)];
    } catch {
      return []; // the API server refuses a bundle with it
    }
  });
}
