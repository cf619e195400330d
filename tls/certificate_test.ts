import { afterEach, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { type Certificate, createCertificate } from "./certificate.ts";

const NAMES = ["webhook.bitfusion-system.svc", "localhost"] as const;
const DAY = 24 * 3600_000;
const NOW = Date.now();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Serves with a certificate, and connects with a client that trusts only `ca`. Returns "trusted" or "refused". */
async function handshake({ cert, key }: Certificate, ca: string): Promise<string> {
  const server = Bun.serve({ port: 0, tls: { cert, key }, fetch: () => new Response("trusted") });
  cleanups.push(() => server.stop(true));
  const response = fetch(`https://localhost:${server.port}`, { tls: { ca }, keepalive: false });
  return response.then(
    (body) => body.text(),
    () => "refused",
  );
}

test("createCertificate() creates a server certificate for the DNS names, signed by its CA", async () => {
  const { cert, key, ca } = await createCertificate([...NAMES], NOW);
  const [leaf, root] = [new X509Certificate(cert), new X509Certificate(ca)];
  expect(leaf.subjectAltName).toBe("DNS:webhook.bitfusion-system.svc, DNS:localhost");
  expect(leaf.ca).toBe(false);
  expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]); // serverAuth
  expect(root.ca).toBe(true);
  expect(leaf.checkIssued(root)).toBe(true);
  expect(leaf.verify(root.publicKey)).toBe(true);
  expect(key).toStartWith("-----BEGIN PRIVATE KEY-----\n");
});

test("only clients that trust the CA of createCertificate() accept the certificate", async () => {
  const [one, other] = await Promise.all([createCertificate([...NAMES], NOW), createCertificate([...NAMES], NOW)]);
  expect(await handshake(one, one.ca)).toBe("trusted");
  expect(await handshake(one, other.ca)).toBe("refused");
});

test("createCertificate() creates a certificate that is valid from one hour ago, for clock skew, until 90 days from now", async () => {
  const { validFromDate, validToDate } = new X509Certificate((await createCertificate([...NAMES], NOW)).cert);
  expect(Math.abs(validFromDate.getTime() - (NOW - 3600_000))).toBeLessThan(1000);
  expect(Math.abs(validToDate.getTime() - (NOW + 90 * DAY))).toBeLessThan(1000);
});
