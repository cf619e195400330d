import { expect, test } from "bun:test";
import { usedPort } from "../testing.ts";
import { listenOn } from "./listen.ts";

function failWith(code: string): never {
  throw Object.assign(new Error(`listen ${code}`), { code });
}

test("listenOn() names the setting and its value if the port is in use", async () => {
  const port = await usedPort();
  const outcome = listenOn("METRICS_PORT", port, () => Bun.serve({ port, fetch: () => new Response() }));
  expect(await outcome.then(String, String)).toBe(`ConfigError: Cannot listen on METRICS_PORT="${port}": it is in use`);
});

test.each([
  ["EACCES", 'ConfigError: Cannot listen on PORT="80": permission denied'],
  ["EADDRNOTAVAIL", 'ConfigError: Cannot listen on PORT="80": the machine does not have this address'],
  ["ENOENT", 'ConfigError: Cannot listen on PORT="80": its folder does not exist'],
  ["EMFILE", "Error: listen EMFILE"],
])("listenOn() throws for %s: %s", async (code, message) => {
  expect(await listenOn("PORT", 80, () => failWith(code)).then(String, String)).toBe(message);
});
