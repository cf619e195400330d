import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import "reflect-metadata"; // must precede x509, whose dependency injection needs it
import * as x509 from "@peculiar/x509";

/** The certificate and key of a TLS server, and the CAs that its clients trust. All in PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  /**
   * The CA that signed `cert`. After a renewal also the previous CAs that have not expired, so that clients trust
   * replicas with an old certificate.
   */
  readonly ca: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
/** Lifetime of a certificate, in ms. */
const LIFETIME = 90 * 24 * 3600_000;
/** How far in the past the validity starts, in ms: clocks differ. */
const CLOCK_SKEW = 3600_000;

/**
 * Creates a CA, and a server certificate for `dnsNames` that it signs. The key of the CA is discarded, so that it can
 * sign nothing else. A renewal creates a new CA.
 *
 * @param now ms since the epoch.
 */
export async function createCertificate(dnsNames: readonly [string, ...string[]], now: number): Promise<Certificate> {
  const notBefore = new Date(now - CLOCK_SKEW);
  const notAfter = new Date(now + LIFETIME);
  const caKeys = await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=bitfusion-webhook-ca",
    keys: caKeys,
    notBefore,
    notAfter,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  });
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: "CN=bitfusion-webhook",
    issuer: ca.subject,
    signingKey: caKeys.privateKey,
    publicKey: keys.publicKey,
    notBefore,
    notAfter,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(dnsNames.map((value) => ({ type: "dns", value }))),
      await x509.AuthorityKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  });
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  return { cert: certificate.toString("pem"), key, ca: ca.toString("pem") };
}

/**
 * What is wrong with a certificate and its key. Undefined if a server can use them. Dates are not checked.
 *
 * @param cert one or more certificates, in PEM
 * @param key a private key, in PEM
 */
export function findPairProblem(cert: string, key: string): { wrong: "cert" | "key"; expected: string } | undefined {
  try {
    createPrivateKey(key);
  } catch {
    return { wrong: "key", expected: "a private key in PEM" };
  }
  if (!cert.includes("-----BEGIN ")) return { wrong: "cert", expected: "a certificate in PEM" };
  try {
    createSecureContext({ cert, key });
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ERR_OSSL_X509_KEY_VALUES_MISMATCH"
      ? { wrong: "key", expected: "the key of the certificate" }
      : { wrong: "cert", expected: "a certificate in PEM" };
  }
}

/**
 * Whether a certificate needs no renewal: it matches its key and all of `dnsNames`, and is in the first two thirds of
 * its lifetime.
 *
 * @param now ms since the epoch.
 */
export function isUsable({ cert, key }: Certificate, dnsNames: readonly string[], now: number): boolean {
  try {
    const certificate = new X509Certificate(cert);
    const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    const isYoung = from <= now && now < from + ((to - from) * 2) / 3;
    return isYoung && dnsNames.every((name) => certificate.checkHost(name)) && findPairProblem(cert, key) === undefined;
  } catch {
    return false; // cannot be parsed: a new one is needed
  }
}
