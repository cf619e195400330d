import { ExecError, exec } from "./exec.ts";

/** Name of the kind cluster. */
export const CLUSTER = "bitfusion-e2e";

/** Nodes that run pods. */
export const WORKERS = [`${CLUSTER}-worker`, `${CLUSTER}-worker2`] as const;

/** A user's kubectl. Returns what it wrote to standard output. @throws {ExecError} */
export function kubectl(...args: string[]): Promise<string> {
  return exec(["kubectl", ...args]);
}

/** `kubectl apply -f -` of one object. @throws {ExecError} with the API server's answer. */
export function apply(object: object, ...options: string[]): Promise<string> {
  return exec(["kubectl", "apply", "-f", "-", ...options], { stdin: JSON.stringify(object) });
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

/** The API server's words when it refuses an object. @throws {Error} when it does not. */
export async function refusal(object: object): Promise<string> {
  const answer = await apply(object).catch((error) => error);
  if (answer instanceof ExecError) return answer.output;
  throw answer instanceof Error ? answer : new Error(`Expected a refusal: ${answer}`);
}

/** Looks again and again, where there is no event to wait for. @throws {Error} after two minutes. */
export async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`Waited two minutes for ${what}`);
    await Bun.sleep(500);
  }
}
