import { exec } from "./exec.ts";

/** Nodes that run pods. */
export const WORKERS = ["bitfusion-e2e-worker", "bitfusion-e2e-worker2"] as const;

/** A user's kubectl. Returns what it wrote to standard output. @throws {ExecError} */
export function kubectl(...args: string[]): Promise<string> {
  return exec(["kubectl", ...args]);
}

/** `kubectl apply -f -` of one object. @throws {ExecError} with the API server's answer. */
export function apply(object: object): Promise<string> {
  return exec(["kubectl", "apply", "-f", "-"], { stdin: JSON.stringify(object) });
}

/** What the API server has. */
export async function get<T>(...args: string[]): Promise<T> {
  return JSON.parse(await kubectl("get", "-o", "json", ...args));
}

/** Waits until every worker shows so many units. @throws {ExecError} after two minutes. */
export async function waitForUnits(
  kind: "allocatable" | "capacity",
  units: number,
  nodes: readonly string[] = WORKERS,
): Promise<void> {
  const path = `jsonpath={.status.${kind}.bitfusion\\.io/gpu}=${units}`;
  await kubectl("wait", "--timeout=120s", `--for=${path}`, ...nodes.map((node) => `node/${node}`));
}

/** Waits until a pod has succeeded, and returns its log. @throws {ExecError} after two minutes. */
export async function waitForSuccess(namespace: string, name: string): Promise<string> {
  await kubectl("wait", "-n", namespace, `pod/${name}`, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s");
  return kubectl("logs", "-n", namespace, name, "--all-containers");
}
