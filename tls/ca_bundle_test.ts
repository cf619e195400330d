import { expect, test } from "bun:test";
import { mergeCas } from "./ca_bundle.ts";
import { createCertificate } from "./certificate.ts";

const NOW = Date.now();
const DAY = 24 * 3600_000;

/** The CA of a certificate that was created some days ago. It lives for 90 days. */
async function caOf(days: number): Promise<string> {
  return (await createCertificate(["localhost"], NOW - days * DAY)).ca;
}

/** The certificates in PEM, without differences in white space. */
function pems(bundle: string): string[] {
  return (bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((pem) => pem.trim());
}

const [today, lastMonth, expired] = await Promise.all([caOf(0), caOf(30), caOf(91)]);

test("mergeCas() adds a CA to those of a bundle, the newest first, each once", () => {
  const merged = mergeCas(`${lastMonth}\n${today}`, today, NOW);
  expect(pems(merged)).toEqual([...pems(today), ...pems(lastMonth)]);
  expect(mergeCas(merged, lastMonth, NOW)).toBe(merged);
});

test("mergeCas() drops certificates that have expired, and texts that are not certificates", () => {
  const garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----";
  expect(pems(mergeCas(`x\n${expired}\n${garbage}\n${lastMonth}`, today, NOW))).toEqual([
    ...pems(today),
    ...pems(lastMonth),
  ]);
  expect(mergeCas("", garbage, NOW)).toBe("");
});

test("mergeCas() keeps at most ten certificates, and drops the oldest", async () => {
  const many = await Promise.all(Array.from({ length: 12 }, (_, days) => caOf(days)));
  expect(pems(mergeCas(many.slice(1).join("\n"), many[0] ?? "", NOW))).toEqual(many.slice(0, 10).flatMap(pems));
});
