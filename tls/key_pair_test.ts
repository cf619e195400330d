import { expect, test } from "bun:test";
import { createAuthority, issueServerCertificate } from "./authority.ts";
import { createCertificate } from "./certificate.ts";
import { findPairProblem, isUsable } from "./key_pair.ts";

const NAMES = ["webhook.bitfusion-system.svc", "localhost"] as const;
const DAY = 24 * 3600_000;
const NOW = Date.now();

const [pair, otherPair] = await Promise.all([createCertificate([...NAMES], NOW), createCertificate([...NAMES], NOW)]);
const GARBAGE = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";

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

test("isUsable() is false if an IP address is missing", async () => {
  const validity = { now: NOW, lifetime: DAY };
  const authority = await createAuthority("ca", validity);
  const certificate = await issueServerCertificate(authority, {
    subject: "a",
    hosts: ["10.0.0.5", "::1"],
    ...validity,
  });
  expect(isUsable(certificate, ["10.0.0.5", "::1"], NOW)).toBe(true);
  expect(isUsable(certificate, ["10.0.0.6"], NOW)).toBe(false);
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
    expect(isUsable({ cert, key: "" }, [], NOW)).toBe(false);
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
