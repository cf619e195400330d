import { test } from "bun:test";
import { diagnose } from "../cluster/diagnostics.ts";
import { kubectl } from "./kubectl.ts";

export interface ScenarioOptions {
  /** In ms. Default: that of all tests (e2e/run.ts). */
  timeout?: number;
}

/** Defines a test with its own namespace, deleted afterwards. A failure writes diagnostics to reports/e2e/<name>. */
export function scenario(
  name: string,
  run: (namespace: string) => Promise<void>,
  { timeout }: ScenarioOptions = {},
): void {
  test(name, inNamespace(name, run), timeout);
}

/** Defines a {@link scenario} that runs in parallel. It must not disturb installed programs or pool servers. */
scenario.concurrent = (name: string, run: (namespace: string) => Promise<void>): void => {
  test.concurrent(name, inNamespace(name, run));
};

function inNamespace(name: string, run: (namespace: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const namespace = `e2e-${crypto.randomUUID().slice(0, 8)}`;
    await kubectl("create", "namespace", namespace);
    try {
      await run(namespace);
    } catch (error) {
      await diagnose(name, { namespace });
      throw error;
    } finally {
      await kubectl("delete", "namespace", namespace, "--wait=false");
    }
  };
}
