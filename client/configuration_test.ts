import { expect, test } from "bun:test";
import { ConfigError } from "../program/config_error.ts";
import { parseClientYaml } from "./configuration.ts";

test("parseClientYaml() returns the mapping", () => {
  expect(parseClientYaml("apiVersion: v1\nuser: { name: a }", "/x")).toEqual({ apiVersion: "v1", user: { name: "a" } });
});

test.each([
  ["a list", "- a"],
  ["a scalar", "a"],
  ["an empty file", ""],
])("parseClientYaml() rejects %s", (_, text) => {
  expect(() => parseClientYaml(text, "/x")).toThrow(new ConfigError("Cannot use /x: expected a YAML mapping"));
});

test("parseClientYaml() reports the position of invalid YAML in one line", () => {
  expect(() => parseClientYaml("a: [\nb", "/x")).toThrow(/^Cannot use \/x: expected a YAML mapping: .+ at line 2.*$/);
});
