import type { EnsureClaimTemplates } from "./claims/claim_templates.ts";
import type { InjectionSettings } from "./injection/injection.ts";
import { mutate } from "./injection/mutate.ts";
import type { Handler } from "./review/app.ts";
import type { EnsureTokens } from "./tokens/tokens.ts";
import { type ValidationSettings, validate } from "./validation/validate.ts";

export interface HandlerOptions {
  /** The current settings: the client catalogue and the pool change while the program runs. */
  settings: () => InjectionSettings & ValidationSettings;
  ensureTokens: EnsureTokens;
  ensureClaimTemplates: EnsureClaimTemplates;
}

/** The handlers of /mutate and /validate. Decisions are pure; what a patched pod needs is written after them, and never on a dry run. */
export function createHandlers(options: HandlerOptions): { mutate: Handler; validate: Handler } {
  const { settings, ensureTokens, ensureClaimTemplates } = options;
  return {
    async mutate(request) {
      const decision = mutate(request, settings());
      if (decision.result !== "patched" || request.dryRun) return decision;
      if (decision.tokens) await ensureTokens(request.namespace);
      if (decision.claimTemplates.length > 0) await ensureClaimTemplates(request.namespace, decision.claimTemplates);
      return decision;
    },
    validate: (request) => validate(request, settings()),
  };
}
