import { test } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "./exec.ts";
import { kubectl } from "./kubectl.ts";
import { SERVERS } from "./pool.ts";

/**
 * A test in a namespace of its own, which is removed afterwards. When it fails, what is needed to understand it is kept in
 * reports/e2e/<its name>.
 */
export function scenario(name: string, run: (namespace: string) => Promise<void>): void {
  test(name, async () => {
    const namespace = `e2e-${crypto.randomUUID().slice(0, 8)}`;
    await kubectl("create", "namespace", namespace);
    try {
      await run(namespace);
    } catch (error) {
      await diagnose(join("reports/e2e", name.replaceAll(/[^\w]+/g, "-")), namespace);
      throw error;
    } finally {
      await kubectl("delete", "namespace", namespace, "--wait=false");
    }
  });
}

async function diagnose(folder: string, namespace: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const sources: Record<string, string[]> = {
    nodes: ["kubectl", "describe", "nodes"],
    pods: ["kubectl", "describe", "pods", "-n", namespace],
    "pods.yaml": ["kubectl", "get", "pods", "-n", namespace, "-o", "yaml"],
    events: ["kubectl", "events", "-A"],
    system: ["kubectl", "describe", "pods", "-n", "bitfusion-system"],
    plugin: [
      "kubectl",
      "logs",
      "-n",
      "bitfusion-system",
      "daemonset/bitfusion-device-plugin",
      "--all-pods",
      "--prefix",
    ],
    webhook: ["kubectl", "logs", "-n", "bitfusion-system", "deployment/bitfusion-webhook", "--all-pods", "--prefix"],
    ...Object.fromEntries(SERVERS.map(({ name }) => [name, ["docker", "logs", name]])),
  };
  for (const [name, command] of Object.entries(sources)) {
    await writeFile(join(folder, `${name}.txt`), await exec(command).catch(String)); // as much as there is
  }
}
