import { afterEach, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { type Certificate, createCertificate, findPairProblem, isUsable } from "./certificate.ts";

const NAMES = ["webhook.bitfusion-system.svc", "localhost"] as const;
const DAY = 24 * 3600_000;
const NOW = Date.now();

const [pair, otherPair] = await Promise.all([createCertificate([...NAMES], NOW), createCertificate([...NAMES], NOW)]);
const GARBAGE = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";

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

test("isUsable() is true during the first two thirds of the lifetime", async () => {
  const created = Math.floor(NOW / 1000) * 1000; // certificates have whole seconds
  const certificate = await createCertificate([...NAMES], created);
  const from = created - 3600_000;
  const end = from + ((90 * DAY + 3600_000) * 2) / 3;
  const times = [from - 1, from, created, end - 1, end, created + 91 * DAY];
  expect(times.map((time) => isUsable(certificate, NAMES, time))).toEqual([false, true, true, true, false, false]);
});

test("isUsable() is false if a DNS name is missing", async () => {
  const certificate = await createCertificate([...NAMES], NOW);
  expect(isUsable(certificate, ["localhost"], NOW)).toBe(true);
  expect(isUsable(certificate, [...NAMES, "webhook.other.svc"], NOW)).toBe(false);
});

test("isUsable() is false if the key does not match the certificate", async () => {
  const [certificate, other] = [await createCertificate([...NAMES], NOW), await createCertificate([...NAMES], NOW)];
  expect(isUsable({ ...certificate, key: other.key }, NAMES, NOW)).toBe(false);
  expect(isUsable({ ...certificate, key: "" }, NAMES, NOW)).toBe(false);
});

test("isUsable() is false if a certificate is followed by garbage, which a server cannot use", async () => {
  expect(isUsable({ ...pair, cert: `${pair.cert}\n${GARBAGE}` }, NAMES, NOW)).toBe(false);
});

test.each(["", "garbage", "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n"])(
  "isUsable() is false for %j, which is not a certificate",
  (cert) => {
    expect(isUsable({ cert, key: "", ca: "" }, [], NOW)).toBe(false);
  },
);

test.each<[description: string, cert: string, key: string, expected: ReturnType<typeof findPairProblem>]>([
  ["nothing in a certificate with its key", pair.cert, pair.key, undefined],
  ["nothing in a chain of certificates", `${pair.cert}\n${pair.ca}`, pair.key, undefined],
  [
    "the key of another certificate",
    pair.cert,
    otherPair.key,
    { wrong: "key", expected: "the key of the certificate" },
  ],
  ["an empty key", pair.cert, "", { wrong: "key", expected: "a private key in PEM" }],
  ["half of a key", pair.cert, pair.key.slice(0, 100), { wrong: "key", expected: "a private key in PEM" }],
  ["an empty certificate", "", pair.key, { wrong: "cert", expected: "a certificate in PEM" }],
  ["text", "hello", pair.key, { wrong: "cert", expected: "a certificate in PEM" }],
  ["half of a certificate", pair.cert.slice(0, 300), pair.key, { wrong: "cert", expected: "a certificate in PEM" }],
  ["PEM of something else", GARBAGE, pair.key, { wrong: "cert", expected: "a certificate in PEM" }],
  ["garbage in a chain", `${pair.cert}\n${GARBAGE}`, pair.key, { wrong: "cert", expected: "a certificate in PEM" }],
])("findPairProblem() finds %s", (_, cert, key, expected) => {
  expect(findPairProblem(cert, key)).toEqual(expected as never);
});
