import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { createSecureContext } from "node:tls";

/** A certificate and its private key, in PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** What one end of a mutual TLS connection needs: its own certificate, and the CAs of its peers. In PEM. */
export interface TlsIdentity extends KeyPair {
  readonly ca: string;
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

/** When the first certificate in PEM expires, in seconds since the epoch. */
export function expiryOf(cert: string): number {
  return new X509Certificate(cert).validToDate.getTime() / 1000;
}

/**
 * Whether a certificate needs no renewal: it matches its key and all of `hosts` (DNS names and IP addresses), and is in
 * the first two thirds of its lifetime.
 *
 * @param now ms since the epoch.
 */
export function isUsable({ cert, key }: KeyPair, hosts: readonly string[], now: number): boolean {
  try {
    const certificate = new X509Certificate(cert);
    const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    const isYoung = from <= now && now < from + ((to - from) * 2) / 3;
    const covers = (host: string) => (isIP(host) ? certificate.checkIP(host) : certificate.checkHost(host));
    return isYoung && hosts.every(covers) && findPairProblem(cert, key) === undefined;
  } catch {
    return false; // cannot be parsed: a new one is needed
  }
}
