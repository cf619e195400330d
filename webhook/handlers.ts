import type { InjectionSettings } from "./injection/injection.ts";
import { mutate } from "./injection/mutate.ts";
import { refusalByNamespace } from "./namespace_refusal.ts";
import type { Handler } from "./review/app.ts";
import type { EnsureToken } from "./tokens/tokens.ts";
import { type ValidationSettings, validate } from "./validation/validate.ts";

export interface HandlerOptions {
  /** The current settings: the client catalogue and the pool change while the program runs. */
  settings: () => InjectionSettings & ValidationSettings;
  ensureToken: EnsureToken;
}

/**
 * The handlers of /mutate and /validate. A decision has no side effects. What a pod needs in its namespace is created
 * after the decision, and never on a dry run.
 */
export function createHandlers(options: HandlerOptions): { mutate: Handler; validate: Handler } {
  const { settings, ensureToken } = options;
  return {
    async mutate(request, deadline) {
      const decision = mutate(request, settings());
      if (!("needs" in decision) || request.dryRun) return decision;
      if (!decision.needs.tokens) return decision;
      const { namespace } = request;
      const signal = AbortSignal.timeout(Math.max(0, Math.round(deadline - performance.now())));
      try {
        await ensureToken(namespace, signal);
      } catch (error) {
        throw refusalByNamespace(error, namespace) ?? error;
      }
      return decision;
    },
    validate: (request) => validate(request, settings()),
  };
}
