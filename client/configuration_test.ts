import { expect, test } from "bun:test";
import { ConfigError } from "../program/config_error.ts";
import { parseClientYaml } from "./configuration.ts";

test("parseClientYaml() gives what the mapping says", () => {
  expect(parseClientYaml("apiVersion: v1\nuser: { name: a }", "/x")).toEqual({ apiVersion: "v1", user: { name: "a" } });
});

test.each([
  ["a list", "- a"],
  ["a word", "a"],
  ["an empty file", ""],
])("parseClientYaml() refuses %s", (_, text) => {
  expect(() => parseClientYaml(text, "/x")).toThrow(new ConfigError("Cannot use /x: expected a YAML mapping"));
});

test("parseClientYaml() says in one line where the YAML is broken", () => {
  expect(() => parseClientYaml("a: [\nb", "/x")).toThrow(/^Cannot use \/x: expected a YAML mapping: .+ at line 2.*$/);
});
