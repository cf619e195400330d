import { expect } from "bun:test";
import { X509Certificate } from "node:crypto";
import { parse } from "yaml";
import { POOL_PORT, SERVERS } from "../cluster/pool.ts";
import { ExecError, exec } from "../steps/exec.ts";
import { apply, get, WORKERS, waitForSuccess } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

interface Secret {
  readonly data: Record<string, string>;
}

/** The subject of the certificate in the token of a namespace. */
async function subjectIn({ data }: Secret): Promise<string> {
  const { certificate } = parse(Buffer.from(data["client.yaml"] ?? "", "base64").toString());
  return new X509Certificate(certificate).subject;
}

scenario.concurrent("a namespace gets the identity for pods only", async (namespace) => {
  await apply(sharePod({ namespace, name: "reader", num: 1, percent: 1, command: ["true"] }));
  await waitForSuccess(namespace, "reader");
  const source = await get<Secret>("secret", "bitfusion-secret", "-n", "kube-system");
  const copy = await get<Secret>("secret", "bitfusion-secret", "-n", namespace);
  expect(await subjectIn(source)).toBe("CN=kind");
  expect(await subjectIn(copy)).toBe("CN=kind\nOU=pods");
  expect(Object.keys(copy.data).toSorted()).toEqual(["ca.crt", "client.yaml", "servers.conf"]);
});

/** Calls a pool server from a node. Returns the exit status of curl, and what it says. */
async function call(protocol: string, ...options: string[]): Promise<string> {
  const url = `${protocol}://${SERVERS[0]?.name}:${POOL_PORT}/bitfusion.pool.v1.PoolService/ListLeases`;
  const headers = ["--header", "Content-Type: application/json", "--data", "{}"];
  const curl = ["curl", "--silent", "--show-error", "--max-time", "20", ...headers, ...options, url];
  const result = await exec(["docker", "exec", WORKERS[0], ...curl]).catch((error) => error);
  return result instanceof ExecError ? result.message : `The server answered: ${result}`;
}

scenario.concurrent("whoever has no certificate gets nothing from a pool server", async () => {
  for (const attempt of [call("http", "--http2-prior-knowledge"), call("https", "--http2", "--insecure")]) {
    // without TLS: HTTP/2, part of it, handshake, nothing, send, receive
    expect(await attempt).toMatch(/exit status (16|18|35|52|55|56)\n|"permission_denied"/);
  }
});
