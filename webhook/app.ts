import { Elysia } from "elysia";
import type { Histogram } from "prom-client";
import { type Logger, messageOf } from "../program/log.ts";
import { readiness } from "../program/probes.ts";
import type { InjectionSettings } from "./injection.ts";
import { decide } from "./mutate.ts";
import { Refusal } from "./refusal.ts";
import { type AdmissionRequest, type Decision, parseReview, toReview } from "./review.ts";
import type { EnsureTokens } from "./tokens.ts";

export interface AppOptions {
  settings: InjectionSettings;
  ensureTokens: EnsureTokens;
  log: Logger;
  /** Time of each review in seconds, by result. */
  reviews: Histogram<"result">;
  /** What the program still waits for, or undefined when it is ready. */
  notReady: () => string | undefined;
}

/** The webhook's HTTP interface: /mutate, /livez, /readyz. Opens nothing itself. */
export function createApp(options: AppOptions) {
  const { log, reviews, notReady } = options;
  return new Elysia()
    .onError(({ code, error, path, set }) => {
      if (code === "NOT_FOUND") return new Response("Not found\n", { status: 404 });
      const reason =
        code === "PARSE" ? "Cannot read the body: expected JSON" : `The webhook failed: ${messageOf(error)}`;
      log.error("Request failed", { path, reason });
      set.status = 200; // the API server reads no review of another status
      return Response.json(toReview("", { result: "errored", code: code === "PARSE" ? 400 : 500, reason }));
    })
    .get("/livez", () => new Response("ok\n"))
    .get("/readyz", () => readiness(notReady()))
    .post(
      "/mutate",
      async ({ body }) => {
        const start = performance.now();
        const parsed = parseReview(body);
        const [request, decision] =
          "request" in parsed
            ? [parsed.request, await review(parsed.request, options)]
            : [{ uid: parsed.uid }, parsed.decision];
        reviews.observe({ result: decision.result }, (performance.now() - start) / 1000);
        logDecision(log, request, decision);
        return toReview(request.uid, decision);
      },
      { parse: "json" },
    );
}

/** Writes come after the decision, and never on a dry run. */
async function review(request: AdmissionRequest, { settings, ensureTokens, log }: AppOptions): Promise<Decision> {
  try {
    const decision = decide(request, settings);
    if (decision.result === "patched" && !request.dryRun) await ensureTokens(request.namespace);
    return decision;
  } catch (error) {
    if (error instanceof Refusal) return { result: "denied", reason: error.message };
    log.error("Review failed", { uid: request.uid, error });
    return { result: "errored", code: 500, reason: `The webhook failed: ${messageOf(error)}` };
  }
}

function logDecision(log: Logger, request: Partial<AdmissionRequest>, { result, reason }: Decision): void {
  const { uid, namespace, name, object, dryRun } = request;
  const { generateName } = (object as { metadata?: { generateName?: string } } | undefined)?.metadata ?? {};
  log.info("Reviewed", { uid, namespace, name: name || generateName, result, reason, dryRun });
}
