import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "../steps/exec.ts";
import { SERVERS } from "./pool.ts";

export interface DiagnosticsOptions {
  /** The namespace of the failure; all namespaces if absent. */
  namespace?: string;
  /** Path of a kubeconfig; the environment's KUBECONFIG if absent. */
  kubeconfig?: string;
}

/** Writes object states, events and logs to reports/e2e/<subject>, to debug a failure. */
export async function diagnose(subject: string, { namespace, kubeconfig }: DiagnosticsOptions): Promise<void> {
  const folder = join("reports/e2e", subject.replaceAll(/[^\w]+/g, "-"));
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const namespaces = namespace ? ["-n", namespace] : ["-A"];
  const sources: Record<string, string[]> = {
    nodes: ["kubectl", "describe", "nodes"],
    pods: ["kubectl", "describe", "pods", ...namespaces],
    "pods.yaml": ["kubectl", "get", "pods", "-o", "yaml", ...namespaces],
    ...(namespace ? { logs: ["kubectl", "logs", ...namespaces, "-l", "!none", "--all-containers", "--prefix"] } : {}),
    events: ["kubectl", "events", "-A"],
    system: ["kubectl", "describe", "pods", "-n", "bitfusion-system"],
    node: ["kubectl", "describe", "pods", "-n", "bitfusion-node"],
    plugin: ["kubectl", "logs", "-n", "bitfusion-node", "daemonset/bitfusion-device-plugin", "--all-pods", "--prefix"],
    ...Object.fromEntries(
      ["webhook", "controller"].map((name) => [
        name,
        ["kubectl", "logs", "-n", "bitfusion-system", `deployment/bitfusion-${name}`, "--all-pods", "--prefix"],
      ]),
    ),
    ...Object.fromEntries(SERVERS.map(({ name }) => [name, ["docker", "logs", name]])),
  };
  const env = kubeconfig ? { KUBECONFIG: kubeconfig } : {};
  for (const [name, command] of Object.entries(sources)) {
    // Continue if a command fails: the others may still work.
    await writeFile(join(folder, `${name}.txt`), await exec(command, { env }).catch(String));
  }
  console.error(`Diagnostics are in ${folder}`);
}
