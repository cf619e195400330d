import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "../steps/exec.ts";
import { SERVERS } from "./pool.ts";

export interface DiagnosticsOptions {
  /** Where the failure was; all namespaces if absent. */
  namespace?: string;
  /** KUBECONFIG if absent. */
  kubeconfig?: string;
}

/** Keeps what is needed to understand a failure in reports/e2e/<subject>. */
export async function diagnose(subject: string, { namespace, kubeconfig }: DiagnosticsOptions): Promise<void> {
  const folder = join("reports/e2e", subject.replaceAll(/[^\w]+/g, "-"));
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const where = namespace ? ["-n", namespace] : ["-A"];
  const sources: Record<string, string[]> = {
    nodes: ["kubectl", "describe", "nodes"],
    pods: ["kubectl", "describe", "pods", ...where],
    "pods.yaml": ["kubectl", "get", "pods", "-o", "yaml", ...where],
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
  const env = kubeconfig ? { KUBECONFIG: kubeconfig } : {};
  for (const [name, command] of Object.entries(sources)) {
    await writeFile(join(folder, `${name}.txt`), await exec(command, { env }).catch(String)); // as much as there is
  }
  console.error(`Diagnostics are in ${folder}`);
}
