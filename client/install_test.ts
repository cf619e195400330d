import { expect, test } from "bun:test";
import { mkdir, mkdtempDisposable, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatClientYaml } from "../pool/token/token.ts";
import { TEST_CLIENT } from "../tls/testing.ts";
import { install } from "./install.ts";

const TOKENS = {
  "ca.crt": TEST_CLIENT.ca,
  "client.yaml": formatClientYaml("cluster", TEST_CLIENT),
  "servers.conf": "servers:\n- reachable: a:1\n",
};

/** Creates folders like the volumes that the webhook mounts: empty ones, and one with the token's files. */
async function folders() {
  const folder = await mkdtempDisposable(join(tmpdir(), "install-"));
  const [client, config, tokens] = ["client", "config", "tokens"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [client, config, tokens]) await mkdir(path);
  for (const [name, text] of Object.entries(TOKENS)) await writeFile(join(tokens, name), text, { mode: 0o400 });
  const executable = join(folder.path, "executable");
  await writeFile(executable, "program", { mode: 0o500 });
  return { client, config, tokens, executable, [Symbol.asyncDispose]: () => folder.remove() };
}

async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}

/** Returns the error of an installation as text, or "nothing" if it succeeds. */
function failure(options: Parameters<typeof install>[0]): Promise<string> {
  return install(options).then(
    () => "nothing",
    (error) => `${error.name}: ${error.message}`,
  );
}

test("install() copies the client and the token's files so that any user can read them", async () => {
  await using paths = await folders();
  await install(paths);
  expect(await readFile(join(paths.client, "bin/bitfusion"), "utf8")).toBe("program");
  expect(await modeOf(join(paths.client, "bin/bitfusion"))).toBe("755");
  expect((await readdir(paths.client)).toSorted()).toEqual(["bin", "lib"]);
  for (const [name, text] of Object.entries(TOKENS)) {
    expect(await readFile(join(paths.config, name), "utf8")).toBe(text);
  }
  const modes = await Promise.all(Object.keys(TOKENS).map((name) => modeOf(join(paths.config, name))));
  expect(modes).toEqual(["644", "644", "666"]);
});

test("install() can run again, as when an init container restarts", async () => {
  await using paths = await folders();
  await install(paths);
  await install(paths);
  expect((await readdir(paths.config)).toSorted()).toEqual(Object.keys(TOKENS));
});

test.each(Object.keys(TOKENS))("install() names %s if it is missing, and writes nothing", async (name) => {
  await using paths = await folders();
  await rm(join(paths.tokens, name));
  expect(await failure(paths)).toStartWith(`ConfigError: Cannot read the token file ${name}: ENOENT`);
  expect([await readdir(paths.client), await readdir(paths.config)]).toEqual([[], []]);
});

test.each([
  ["servers.conf", "servers: []", "servers is []: expected at least one server"],
  ["client.yaml", "- a", "expected a mapping"],
  ["client.yaml", "client: a", "certificate is not set: expected a certificate in PEM"],
  ["ca.crt", "# none", "expected a certificate in PEM"],
])("install() checks %s before it writes anything", async (name, text, reason) => {
  await using paths = await folders();
  const path = join(paths.tokens, name);
  await rm(path);
  await writeFile(path, text);
  expect(await failure(paths)).toBe(`ConfigError: Cannot use ${path}: ${reason}`);
  expect([await readdir(paths.client), await readdir(paths.config)]).toEqual([[], []]);
});

test("install() copies the client alone if the pod has no token", async () => {
  await using paths = await folders();
  await rm(paths.tokens, { recursive: true });
  await install(paths);
  expect(await readdir(paths.config)).toEqual([]);
  expect(await readdir(join(paths.client, "bin"))).toEqual(["bitfusion"]);
});
