import { createAuthority, issueServerCertificate } from "./authority.ts";
import type { KeyPair } from "./key_pair.ts";

/** The certificate and key of a TLS server, and the CAs that its clients trust. All in PEM. */
export interface Certificate extends KeyPair {
  /**
   * The CA that signed `cert`. After a renewal also the previous CAs that have not expired, so that clients trust
   * replicas with an old certificate.
   */
  readonly ca: string;
}

/** Lifetime of a certificate, in ms. */
const LIFETIME = 90 * 24 * 3600_000;

/**
 * Creates a CA, and a server certificate for `dnsNames` that it signs. The key of the CA is discarded, so that it can
 * sign nothing else. A renewal creates a new CA.
 *
 * @param now ms since the epoch.
 */
export async function createCertificate(dnsNames: readonly [string, ...string[]], now: number): Promise<Certificate> {
  const validity = { now, lifetime: LIFETIME };
  const authority = await createAuthority("bitfusion-webhook-ca", validity);
  const pair = await issueServerCertificate(authority, { subject: "bitfusion-webhook", hosts: dnsNames, ...validity });
  return { ...pair, ca: authority.certificate.toString("pem") };
}
