import { expect, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { ConfigError } from "../../program/config_error.ts";
import { createRecordingLog, silentLog } from "../../program/testing.ts";
import { TEST_CLIENT } from "../../tls/testing.ts";
import { TEST_TOKEN, writeTestToken } from "./testing.ts";
import { createTokenSource } from "./token_source.ts";

const noApiServer = async () => {
  throw new ConfigError("Cannot find the API server");
};

test("createTokenSource() reads the files of a folder", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "token-"));
  await writeTestToken(folder.path);
  const source = createTokenSource({ folder: folder.path, connect: noApiServer, log: silentLog });
  for await (const token of source(AbortSignal.timeout(4000))) {
    expect(token).toEqual({ tls: TEST_CLIENT });
    return;
  }
  throw new Error("No token");
});

test("createTokenSource() waits for files that are missing or invalid, and says why", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "token-"));
  const lines: string[] = [];
  const log = createRecordingLog(lines);
  const source = createTokenSource({ folder: folder.path, connect: noApiServer, log })(AbortSignal.timeout(8000));
  const first = source[Symbol.asyncIterator]().next();
  while (lines.length < 1) await Bun.sleep(5);
  expect(lines[0]).toStartWith("Cannot read the pool's token: ENOENT");
  await writeTestToken(folder.path);
  await writeFile(join(folder.path, "client.yaml"), "- a");
  while (lines.length < 2) await Bun.sleep(5);
  expect(lines[1]).toBe(`Cannot read the pool's token: Cannot use ${folder.path}/client.yaml: expected a mapping`);
  await writeTestToken(folder.path);
  expect((await first).value).toEqual({ tls: TEST_CLIENT });
});

test("createTokenSource() reads the Secret once it exists", async () => {
  await using api = startSimulatedApiServer();
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const lines: string[] = [];
  const source = createTokenSource({ connect: async () => request, log: createRecordingLog(lines) });
  const first = source(AbortSignal.timeout(8000))[Symbol.asyncIterator]().next();
  while (lines.length < 1) await Bun.sleep(5);
  const encoded = Object.entries(TEST_TOKEN).map(([name, text]) => [name, btoa(text)]);
  const { "ca.crt": ca = "", "client.yaml": client = "" } = Object.fromEntries(encoded);
  api.store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", { data: { "ca.crt": ca } });
  while (lines.length < 2) await Bun.sleep(5);
  expect(lines[1]).toBe("Cannot read the pool's token: Secret kube-system/bitfusion-secret has no client.yaml");
  api.store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", {
    data: { "ca.crt": ca, "client.yaml": client },
  });
  expect((await first).value).toEqual({ tls: TEST_CLIENT });
});

test("createTokenSource() yields a token for another protocol if there is none", async () => {
  const source = createTokenSource({ folder: "none", connect: noApiServer, log: silentLog });
  expect(await Array.fromAsync(source(AbortSignal.timeout(4000)))).toEqual([{}]);
});

test("createTokenSource() fails if there is neither a folder nor an API server", async () => {
  const source = createTokenSource({ connect: noApiServer, log: silentLog });
  const error = await Array.fromAsync(source(AbortSignal.timeout(4000))).then(String, String);
  expect(error).toBe(
    "ConfigError: Cannot start without POOL_TOKEN: expected the folder of the pool's token. Cannot find the API server",
  );
});
