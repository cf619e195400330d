import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { KubernetesError } from "./error.ts";
import type { KubernetesRequest } from "./request.ts";

export interface WaitForApiServerOptions {
  request: KubernetesRequest;
  log: Logger;
  signal: AbortSignal;
}

/**
 * Resolves once the API server answers, or when the signal is aborted. It cannot be reached while a node or the control
 * plane starts. Failures are logged and retried with backoff.
 */
export async function waitForApiServer({ request, log, signal }: WaitForApiServerOptions): Promise<void> {
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      await request("/version", { signal });
      return;
    } catch (error) {
      if (signal.aborted || isAnswer(error)) return;
      log.warn("Cannot reach the API server", { reason: messageOf(error) });
    }
    await backoff.wait(signal).catch(() => {}); // rejects only when aborted
  }
}

/** Whether the error is an answer of the API server, not of a load balancer in front of it. */
function isAnswer(error: unknown): boolean {
  return error instanceof KubernetesError && error.code < 500;
}
