import { expect, test } from "bun:test";
import { ConfigError } from "../../program/config_error.ts";
import { createTestClient, TEST_CLIENT } from "../../tls/testing.ts";
import { formatClientYaml, parseToken } from "./token.ts";

const ca = { path: "/t/ca.crt", text: TEST_CLIENT.ca };

function parse(text: string) {
  return parseToken({ ca, client: { path: "/t/client.yaml", text } });
}

test("parseToken() reads what formatClientYaml() writes", () => {
  expect(parse(formatClientYaml("cluster", TEST_CLIENT))).toEqual({ tls: TEST_CLIENT });
});

test("parseToken() takes a token without a certificate for another protocol", () => {
  expect(parse("apiVersion: v1\nuser: { name: a }")).toEqual({});
});

const other = await createTestClient("other");

test.each([
  ["a list", "- a", "expected a mapping"],
  ["a scalar", "a", "expected a mapping"],
  ["an empty file", "", "expected a mapping"],
  ["invalid YAML", "a: [\nb", "expected YAML (line 2)"],
  ["a number as the key", `certificate: x\nkey: 1`, "key is 1: expected text"],
  [
    "half of a key",
    formatClientYaml("a", { ...TEST_CLIENT, key: TEST_CLIENT.key.slice(0, 90) }),
    "key: expected a private key in PEM",
  ],
  ["a certificate alone", `certificate: ${JSON.stringify(TEST_CLIENT.cert)}`, "key: expected a private key in PEM"],
  ["a key alone", `key: ${JSON.stringify(TEST_CLIENT.key)}`, "certificate: expected a certificate in PEM"],
  [
    "the key of another",
    formatClientYaml("a", { ...TEST_CLIENT, key: other.key }),
    "key: expected the key of the certificate",
  ],
])("parseToken() rejects %s, and never shows the content", (_, text, reason) => {
  expect(() => parse(text)).toThrow(new ConfigError(`Cannot use /t/client.yaml: ${reason}`));
});

test("parseToken() rejects a ca.crt without a certificate", () => {
  const client = { path: "/t/client.yaml", text: formatClientYaml("a", TEST_CLIENT) };
  expect(() => parseToken({ ca: { ...ca, text: "# none" }, client })).toThrow(
    new ConfigError("Cannot use /t/ca.crt: expected a certificate in PEM"),
  );
});
