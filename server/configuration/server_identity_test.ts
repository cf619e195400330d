import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { createAuthority, formatAuthority } from "../../tls/authority.ts";
import { TEST_SERVER } from "../../tls/testing.ts";
import { createServerIdentity } from "./server_identity.ts";

const DAY = 24 * 3600_000;

async function createMaterial(lifetime: number) {
  const { cert, key } = await formatAuthority(await createAuthority("pool-ca", { now: Date.now(), lifetime }));
  return { ca: cert, caKey: key };
}

const material = await createMaterial(3650 * DAY);

test("the server makes its certificate for its name, keeps it, and renews it after two thirds of its lifetime", async () => {
  let now = Date.now();
  const identityOf = createServerIdentity({ name: "gpu-1", now: () => now });
  const first = await identityOf(material);
  expect(new X509Certificate(first.cert).subjectAltName).toBe("DNS:gpu-1");
  now += 59 * DAY;
  expect(await identityOf({ ...material })).toBe(first);
  now += 2 * DAY;
  const second = await identityOf(material);
  expect(second.cert).not.toBe(first.cert);
  expect(new X509Certificate(second.cert).validToDate.getTime()).toBeGreaterThan(now + 89 * DAY);
});

test("the server makes a new certificate for other hosts", async () => {
  const identityOf = createServerIdentity({ name: "gpu-1", now: Date.now });
  await identityOf(material);
  const { cert } = await identityOf({ ...material, hosts: ["10.0.0.5", "gpu-1.example"] });
  expect(new X509Certificate(cert).subjectAltName).toBe("IP Address:10.0.0.5, DNS:gpu-1.example");
});

test("the server makes a new certificate with another CA", async () => {
  const identityOf = createServerIdentity({ name: "gpu-1", now: Date.now });
  await identityOf(material);
  const other = await createMaterial(DAY);
  const { cert, ca } = await identityOf(other);
  const [leaf, authority] = [new X509Certificate(cert), new X509Certificate(other.ca)];
  expect(leaf.checkIssued(authority)).toBe(true);
  expect(leaf.validToDate).toEqual(authority.validToDate); // and not 90 days
  expect(ca).toBe(other.ca);
});

test("the server uses a certificate of the configuration as it is", async () => {
  const { cert, key, ca } = TEST_SERVER;
  const identityOf = createServerIdentity({ name: "gpu-1", now: () => Date.now() + 1000 * DAY });
  expect(await identityOf({ ca, pair: { cert, key } })).toEqual({ cert, key, ca });
});
