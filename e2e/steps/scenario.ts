import { test } from "bun:test";
import { diagnose } from "../cluster/diagnostics.ts";
import { kubectl } from "./kubectl.ts";

/**
 * A test in a namespace of its own, which is removed afterwards. When it fails, what is needed to understand it is kept in
 * reports/e2e/<its name>.
 */
export function scenario(name: string, run: (namespace: string) => Promise<void>): void {
  test(name, inNamespace(name, run));
}

/** A {@link scenario} that leaves the cluster's programs and the pool's servers alone, and minds nobody beside it. */
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
