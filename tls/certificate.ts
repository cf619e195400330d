import { createPrivateKey, X509Certificate } from "node:crypto";
import "reflect-metadata"; // before x509, whose dependency injection wants it
import * as x509 from "@peculiar/x509";

/** What a TLS server presents, and what its clients must trust. All in PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  /** The CA that signed it, and after a renewal the one before: servers that present the old one stay trusted. */
  readonly ca: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const LIFETIME = 90 * 24 * 3600_000;
/** Clocks differ. */
const BACKDATED = 3600_000;

/**
 * A CA and a certificate that it signed for `dnsNames`. The CA's key is thrown away: a renewal makes a new CA, so no key that
 * could sign anything else is ever kept.
 *
 * @param now ms since the epoch.
 */
export async function createCertificate(dnsNames: readonly [string, ...string[]], now: number): Promise<Certificate> {
  const notBefore = new Date(now - BACKDATED);
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

/** A new certificate whose bundle still trusts the CA of the one before. */
export function afterRenewal(renewed: Certificate, before: Certificate): Certificate {
  const [previous = ""] = x509.PemConverter.decode(before.ca).map((der) =>
    x509.PemConverter.encode(der, "CERTIFICATE"),
  );
  return { ...renewed, ca: `${renewed.ca}\n${previous}` };
}

/** Whether key and certificate belong together, it is for all of `dnsNames`, and in the first two thirds of its life. */
export function isFresh({ cert, key }: Certificate, dnsNames: readonly string[], now: number): boolean {
  try {
    const certificate = new X509Certificate(cert);
    const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    const isYoung = from <= now && now < from + ((to - from) * 2) / 3;
    return (
      isYoung &&
      dnsNames.every((name) => certificate.checkHost(name)) &&
      certificate.checkPrivateKey(createPrivateKey(key))
    );
  } catch {
    return false; // no certificate, or no key: make one
  }
}
