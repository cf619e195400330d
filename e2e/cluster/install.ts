import { readFile } from "node:fs/promises";
import { parse, stringify } from "yaml";
import { type ExecOptions, exec } from "../steps/exec.ts";
import { CREATE_SECRET, INSTALL, ROLLOUT } from "./commands.ts";

/**
 * The client catalogue of the tests: that of the manifests, and before it the client of the tests' data plane. Containers without a command
 * thus get this client.
 */
export async function testCatalogue(): Promise<string> {
  const [catalogue, client] = await Promise.all(
    ["webhook/deploy/clients.yaml", "e2e/cluster/client.yaml"].map(async (path) => parse(await readFile(path, "utf8"))),
  );
  return stringify({ ...catalogue, clients: [client, ...catalogue.clients] });
}

/**
 * Installs everything as README describes, adds the client of the tests' data plane, and waits until all is ready.
 *
 * @throws {ExecError} if a command fails.
 */
export async function install(options: ExecOptions): Promise<void> {
  await run(INSTALL, options);
  await addClient(options);
  await createSecret(options);
  for (const command of ROLLOUT) await run(command, options);
}

/** Creates the Secret with the pool's token, as README does. @throws {ExecError} */
export async function createSecret(options: ExecOptions): Promise<void> {
  await run(CREATE_SECRET, options);
}

async function run(command: string, options: ExecOptions): Promise<void> {
  await exec(command.split(" "), options);
}

/** Adds the client of the tests' data plane to the catalogue of the webhook, and restarts it. Does not wait until it is ready. */
export async function addClient(options: ExecOptions = {}): Promise<void> {
  const patch = JSON.stringify({ data: { "clients.yaml": await testCatalogue() } });
  const system = ["kubectl", "-n", "bitfusion-system"];
  await exec([...system, "patch", "configmap", "bitfusion-clients", "--type=merge", "--patch", patch], options);
  // The webhook would load it without a restart, but the kubelet takes a minute to show it the change.
  await exec([...system, "rollout", "restart", "deployment/bitfusion-webhook"], options);
}
