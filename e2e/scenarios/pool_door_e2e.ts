import { expect } from "bun:test";
import { POOL_PORT, SERVERS } from "../cluster/pool.ts";
import { ExecError, exec } from "../steps/exec.ts";
import { apply, get, kubectl, WORKERS } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** Where the driver keeps what proves the leases of a node's claims. */
const CLAIMS_FOLDER = "/var/lib/kubelet/plugins/bitfusion.io/claims";

scenario.concurrent(
  "only the claim's containers, and root on the node, get at the secret of a lease",
  async (namespace) => {
    const command = [
      "sh",
      "-c",
      'env | grep -v BITFUSION_LEASES; echo LEASES; cat "$BITFUSION_LEASES"/*/leases.json; sleep 600',
    ];
    const [node] = WORKERS;
    await apply(sharePod({ namespace, name: "holder", num: 1, percent: 1, command, node }));
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
    const [environment = "", leases = ""] = (await kubectl("logs", "-n", namespace, "holder", "-c", "main")).split(
      "LEASES",
    );
    const [secret = "no secret"] = /(?<="secret": ")[^"]+/.exec(leases) ?? [];
    expect(secret.length).toBeGreaterThan(40);
    expect(environment).not.toContain(secret);
    const onNode = (...args: string[]) => exec(["docker", "exec", node, ...args]);
    expect(await onNode("sh", "-c", "cat /var/run/cdi/bitfusion.io-claim_*")).not.toContain(secret);
    expect((await onNode("stat", "-c", "%a %U", CLAIMS_FOLDER)).trim()).toBe("700 root");
    expect(JSON.stringify(await get("pod", "holder", "-n", namespace))).not.toContain(secret);
  },
);

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
