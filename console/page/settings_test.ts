import { expect, test } from "bun:test";
import { readSettings } from "./settings.ts";

test("readSettings() adds the names of an Ingress to those of this machine", () => {
  expect(readSettings({ HOSTS: "gpus.example.com, GPUS" })).toEqual({
    port: 8080,
    metricsPort: 0,
    hosts: ["localhost", "127.0.0.1", "[::1]", "gpus.example.com", "gpus"],
  });
});

test.each(["gpus.example.com:443", "https://gpus.example.com", "a,,b"])("readSettings() refuses HOSTS=%j", (HOSTS) => {
  expect(() => readSettings({ HOSTS })).toThrow(
    `Cannot use HOSTS="${HOSTS}": expected host names without ports, separated by commas`,
  );
});
