import { ExecError, exec } from "./exec.ts";

/** Name of the kind cluster. */
export const CLUSTER = "bitfusion-e2e";

/** Names of the worker nodes, which run pods. */
export const WORKERS = [`${CLUSTER}-worker`, `${CLUSTER}-worker2`] as const;

/** Runs kubectl. Returns its standard output. @throws {ExecError} if its exit status is not 0. */
export function kubectl(...args: string[]): Promise<string> {
  return exec(["kubectl", ...args]);
}

/** Runs `kubectl apply -f -` for one object. Returns its output. @throws {ExecError} with the API server's message. */
export function apply(object: object, ...options: string[]): Promise<string> {
  return exec(["kubectl", "apply", "-f", "-", ...options], { stdin: JSON.stringify(object) });
}

/** Runs `kubectl get -o json`. Returns the parsed object or list. @throws {ExecError} */
export async function get<T>(...args: string[]): Promise<T> {
  return JSON.parse(await kubectl("get", "-o", "json", ...args));
}

/** The capacity of a node that counts no units of the pool. */
export const NODE_CAPACITY = "1G";

export interface UnitsOptions {
  nodes?: readonly string[];
  /** In seconds. */
  timeout?: number;
}

/** Waits until every node reports this many units. @throws {ExecError} after the timeout. */
export async function waitForUnits(
  kind: "allocatable" | "capacity",
  units: number | string,
  { nodes = WORKERS, timeout = 120 }: UnitsOptions = {},
): Promise<void> {
  const path = `jsonpath={.status.${kind}.bitfusion\\.io/gpu}=${units}`;
  await kubectl("wait", `--timeout=${timeout}s`, `--for=${path}`, ...nodes.map((node) => `node/${node}`));
}

/** Waits until a pod has succeeded. Returns its log. @throws {ExecError} after two minutes. */
export async function waitForSuccess(namespace: string, name: string): Promise<string> {
  await kubectl("wait", "-n", namespace, `pod/${name}`, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s");
  return kubectl("logs", "-n", namespace, name, "--all-containers");
}

/** Applies an object that must be rejected. Returns the API server's message. @throws {Error} if it is accepted. */
export async function rejectionMessage(object: object, ...options: string[]): Promise<string> {
  const result = await apply(object, ...options).catch((error) => error);
  if (result instanceof ExecError) return result.output;
  throw result instanceof Error ? result : new Error(`Expected a rejection: ${result}`);
}

/** Polls a condition that `kubectl wait` cannot express. @throws {Error} after the timeout, in seconds. */
export async function waitFor(
  what: string,
  isMet: () => Promise<boolean>,
  { timeout = 120 }: { timeout?: number } = {},
): Promise<void> {
  const deadline = performance.now() + timeout * 1000;
  while (!(await isMet())) {
    if (performance.now() > deadline) throw new Error(`Waited ${timeout} s for ${what}`);
    await Bun.sleep(500);
  }
}
