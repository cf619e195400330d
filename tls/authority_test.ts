import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import {
  createAuthority,
  formatAuthority,
  issueClientCertificate,
  issueServerCertificate,
  parseAuthority,
} from "./authority.ts";

const DAY = 24 * 3600_000;
const NOW = Date.now();
const validity = { now: NOW, lifetime: DAY };
const authority = await createAuthority("test-ca", validity);
const pem = await formatAuthority(authority);

test("an authority issues the same after it was formatted and parsed", async () => {
  const { cert } = await issueServerCertificate(await parseAuthority(pem), { subject: "x", hosts: ["a"], ...validity });
  expect(new X509Certificate(cert).verify(new X509Certificate(pem.cert).publicKey)).toBe(true);
});

test("a server certificate is for DNS names and IP addresses, and for servers only", async () => {
  const hosts = ["gpu-1.example", "10.0.0.5", "::1"];
  const certificate = new X509Certificate(
    (await issueServerCertificate(authority, { subject: "gpu-1", hosts, ...validity })).cert,
  );
  expect(certificate.subjectAltName).toBe("DNS:gpu-1.example, IP Address:10.0.0.5, IP Address:0:0:0:0:0:0:0:1");
  expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]); // serverAuth
});

test("a client certificate has the name as its common name, whatever it contains, and is for clients only", async () => {
  const { cert } = await issueClientCertificate(authority, { name: "a, CN=b", ...validity });
  const certificate = new X509Certificate(cert);
  expect(certificate.toLegacyObject().subject).toMatchObject({ CN: "a, CN=b" });
  expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]); // clientAuth
  expect(Math.abs(certificate.validToDate.getTime() - (NOW + DAY))).toBeLessThan(1000);
});

const other = await formatAuthority(await createAuthority("other-ca", validity));

test.each([
  ["an empty certificate", { ...pem, cert: "" }, "expected a certificate in PEM"],
  ["a certificate in place of the key", { ...pem, key: pem.cert }, "expected an ECDSA P-256 key in PEM (PRIVATE KEY)"],
  ["half of a key", { ...pem, key: pem.key.slice(0, 90) }, "expected an ECDSA P-256 key in PEM (PRIVATE KEY)"],
  ["the key of another authority", { ...pem, key: other.key }, "expected the key of the certificate"],
])("parseAuthority() rejects %s", async (_, pair, message) => {
  expect(await parseAuthority(pair).then(String, (error) => error.message)).toBe(message);
});

test("parseAuthority() takes the first of several certificates", async () => {
  const { certificate } = await parseAuthority({ ...pem, cert: `${pem.cert}\n${other.cert}` });
  expect(certificate.subject).toBe("CN=test-ca");
});
