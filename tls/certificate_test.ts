import { afterEach, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { afterRenewal, type Certificate, createCertificate, isFresh } from "./certificate.ts";

const NAMES = ["webhook.bitfusion-system.svc", "localhost"] as const;
const DAY = 24 * 3600_000;
const NOW = Date.now();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Serves with a certificate and asks it over TLS, trusting `ca` only. */
async function handshake({ cert, key }: Certificate, ca: string): Promise<string> {
  const server = Bun.serve({ port: 0, tls: { cert, key }, fetch: () => new Response("trusted") });
  cleanups.push(() => server.stop(true));
  const response = fetch(`https://localhost:${server.port}`, { tls: { ca }, keepalive: false });
  return response.then(
    (answer) => answer.text(),
    () => "refused",
  );
}

test("createCertificate() names its Service, for servers only, signed by a CA that may sign nothing below it", async () => {
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

test("createCertificate() makes what a client that trusts its CA accepts, and no other client does", async () => {
  const [one, other] = await Promise.all([createCertificate([...NAMES], NOW), createCertificate([...NAMES], NOW)]);
  expect(await handshake(one, one.ca)).toBe("trusted");
  expect(await handshake(one, other.ca)).toBe("refused");
});

test("createCertificate() lasts 90 days, from an hour before now for clocks that differ", async () => {
  const { validFromDate, validToDate } = new X509Certificate((await createCertificate([...NAMES], NOW)).cert);
  expect(Math.abs(validFromDate.getTime() - (NOW - 3600_000))).toBeLessThan(1000);
  expect(Math.abs(validToDate.getTime() - (NOW + 90 * DAY))).toBeLessThan(1000);
});

test("isFresh() is true until two thirds of the lifetime are over", async () => {
  const made = Math.floor(NOW / 1000) * 1000; // certificates count seconds
  const certificate = await createCertificate([...NAMES], made);
  const from = made - 3600_000;
  const end = from + ((90 * DAY + 3600_000) * 2) / 3;
  const times = [from - 1, from, made, end - 1, end, made + 91 * DAY];
  expect(times.map((time) => isFresh(certificate, NAMES, time))).toEqual([false, true, true, true, false, false]);
});

test("isFresh() wants each of the names", async () => {
  const certificate = await createCertificate([...NAMES], NOW);
  expect(isFresh(certificate, ["localhost"], NOW)).toBe(true);
  expect(isFresh(certificate, [...NAMES, "webhook.other.svc"], NOW)).toBe(false);
});

test("isFresh() wants the key that belongs to the certificate", async () => {
  const [certificate, other] = [await createCertificate([...NAMES], NOW), await createCertificate([...NAMES], NOW)];
  expect(isFresh({ ...certificate, key: other.key }, NAMES, NOW)).toBe(false);
  expect(isFresh({ ...certificate, key: "" }, NAMES, NOW)).toBe(false);
});

test.each(["", "garbage", "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n"])(
  "isFresh() is false for %j, which is no certificate",
  (cert) => {
    expect(isFresh({ cert, key: "", ca: "" }, [], NOW)).toBe(false);
  },
);

test("afterRenewal() trusts servers with the new certificate and with the one before, not with the one before that", async () => {
  const first = await createCertificate([...NAMES], NOW);
  const second = afterRenewal(await createCertificate([...NAMES], NOW), first);
  const third = afterRenewal(await createCertificate([...NAMES], NOW), second);
  expect(await handshake(third, third.ca)).toBe("trusted");
  expect(await handshake(second, third.ca)).toBe("trusted");
  expect(await handshake(first, second.ca)).toBe("trusted");
  expect(await handshake(first, third.ca)).toBe("refused");
});

test("afterRenewal() takes a CA before that is garbage for none", async () => {
  const renewed = await createCertificate([...NAMES], NOW);
  const { ca } = afterRenewal(renewed, { cert: "garbage", key: "garbage", ca: "garbage" });
  expect(await handshake(renewed, ca)).toBe("trusted");
});
