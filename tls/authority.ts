import { isIP } from "node:net";
import "reflect-metadata"; // must precede x509, whose dependency injection needs it
import * as x509 from "@peculiar/x509";
import type { KeyPair } from "./key_pair.ts";

/** A certificate authority: what it needs to sign certificates. */
export interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly key: CryptoKey;
}

/** Validity of a certificate, in ms. It starts an hour before `now` (since the epoch), because clocks differ. */
export interface Validity {
  readonly now: number;
  readonly lifetime: number;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
/** How far in the past the validity starts, in ms. */
const CLOCK_SKEW = 3600_000;

/** Creates an authority that can sign certificates, but no further authorities. */
export async function createAuthority(name: string, validity: Validity): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    ...datesOf(validity),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, key: keys.privateKey };
}

/** The authority in PEM: its certificate, and its key. */
export async function formatAuthority({ certificate, key }: Authority): Promise<KeyPair> {
  return { cert: certificate.toString("pem"), key: await formatKey(key) };
}

/**
 * Parses the output of {@link formatAuthority}. Of several certificates, the first is the authority's.
 *
 * @throws {Error} says what is wrong.
 */
export async function parseAuthority({ cert, key }: KeyPair): Promise<Authority> {
  let certificate: x509.X509Certificate;
  try {
    certificate = new x509.X509Certificate(cert.match(PEM)?.[0] ?? "");
  } catch {
    throw new Error("expected a certificate in PEM");
  }
  let imported: CryptoKey;
  try {
    const [der] = x509.PemConverter.decode(key);
    imported = await crypto.subtle.importKey("pkcs8", der as ArrayBuffer, ALGORITHM, true, ["sign"]);
  } catch {
    throw new Error("expected an ECDSA P-256 key in PEM (PRIVATE KEY)");
  }
  if (!(await isPair(certificate, imported))) throw new Error("expected the key of the certificate");
  return { certificate, key: imported };
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/;

async function isPair(certificate: x509.X509Certificate, key: CryptoKey): Promise<boolean> {
  const message = new Uint8Array(32);
  const signature = await crypto.subtle.sign(ALGORITHM, key, message);
  const publicKey = await certificate.publicKey.export(ALGORITHM, ["verify"]).catch(() => undefined);
  return publicKey !== undefined && crypto.subtle.verify(ALGORITHM, publicKey, signature, message);
}

/** Issues a certificate for a TLS server. `hosts` are DNS names and IP addresses. */
export async function issueServerCertificate(
  authority: Authority,
  { subject, hosts, ...validity }: Validity & { subject: string; hosts: readonly string[] },
): Promise<KeyPair> {
  const names = hosts.map((value) => ({ type: isIP(value) ? ("ip" as const) : ("dns" as const), value }));
  return issue(authority, { subject: [{ CN: [subject] }], ...validity }, [
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    new x509.SubjectAlternativeNameExtension(names),
  ]);
}

/** Issues a certificate for a TLS client. Servers know it by its common name and its organizational unit. */
export async function issueClientCertificate(
  authority: Authority,
  { name, unit, ...validity }: Validity & { name: string; unit?: string },
): Promise<KeyPair> {
  const subject = [{ CN: [name] }, ...(unit === undefined ? [] : [{ OU: [unit] }])];
  return issue(authority, { subject, ...validity }, [
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
  ]);
}

async function issue(
  { certificate: { subject: issuer, publicKey }, key: signingKey }: Authority,
  { subject, ...validity }: Validity & { subject: x509.JsonName },
  extensions: x509.Extension[],
): Promise<KeyPair> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer,
    signingKey,
    publicKey: keys.publicKey,
    ...datesOf(validity),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      ...extensions,
      await x509.AuthorityKeyIdentifierExtension.create(publicKey),
    ],
  });
  return { cert: certificate.toString("pem"), key: await formatKey(keys.privateKey) };
}

function datesOf({ now, lifetime }: Validity): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now - CLOCK_SKEW), notAfter: new Date(now + lifetime) };
}

async function formatKey(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}
