import { Elysia } from "elysia";
import { type Logger, logInfo, messageOf } from "../../program/log/log.ts";
import { readiness } from "../../program/probes.ts";
import { createEndOfTurn } from "../../program/turn.ts";
import type { EnsureClaimTemplates } from "../claims/claim_templates.ts";
import type { InjectionSettings } from "../injection/injection.ts";
import { mutate } from "../injection/mutate.ts";
import { Refusal } from "../pod/refusal.ts";
import type { EnsureTokens } from "../tokens/tokens.ts";
import { type ValidationSettings, validate } from "../validation/validate.ts";
import type { WebhookMetrics } from "./metrics.ts";
import { type AdmissionRequest, type Decision, parseReview, writeReview } from "./review.ts";

export interface AppOptions {
  /** As they are now: the catalogue and the pool change while the program runs. */
  settings: () => InjectionSettings & ValidationSettings;
  ensureTokens: EnsureTokens;
  ensureClaimTemplates: EnsureClaimTemplates;
  log: Logger;
  metrics: Pick<WebhookMetrics, "reviews">;
  /** What the program still waits for, or undefined when it is ready. */
  notReady: () => string | undefined;
  /** What a ready webhook says of itself. */
  detail?: () => string;
}

/** From how many bytes on a review is decided at once. */
const LARGE = 200_000;

const JSON_BODY = { headers: new Headers({ "Content-Type": "application/json" }) };

type Decide = (request: AdmissionRequest) => Decision | Promise<Decision>;

/** The webhook's HTTP interface: /mutate, /validate, /livez, /readyz. Opens nothing itself. */
export function createApp({
  settings,
  ensureTokens,
  ensureClaimTemplates,
  log,
  metrics,
  notReady,
  detail,
}: AppOptions) {
  const endOfTurn = createEndOfTurn();

  /**
   * The reviews that arrive in one turn of the event loop are decided together, and then answered together. Between each other's reading
   * and parsing they took 12 % longer: their code had left the processor's cache, and each answer woke its reader anew. Large ones would
   * leave the cache themselves meanwhile, and be in the way of the garbage collector: they do not wait.
   */
  async function review(webhook: string, { headers }: Request, body: unknown, decide: Decide) {
    if (Number(headers.get("content-length")) < LARGE) await endOfTurn();
    const start = performance.now();
    const parsed = parseReview(body);
    const [request, decision] =
      "request" in parsed
        ? [parsed.request, await decided(parsed.request, decide)]
        : [{ uid: parsed.uid }, parsed.decision];
    const { result, topic } = decision;
    metrics.reviews.observe({ webhook, result, reason: topic }, (performance.now() - start) / 1000);
    logDecision(webhook, request, decision);
    return new Response(writeReview(request.uid, decision), JSON_BODY);
  }

  async function decided(request: AdmissionRequest, decide: Decide): Promise<Decision> {
    try {
      return await decide(request);
    } catch (error) {
      if (error instanceof Refusal) return { result: "denied", topic: error.topic, reason: error.message };
      log.error("Review failed", { uid: request.uid, error });
      return { result: "errored", topic: "internal", code: 500, reason: `The webhook failed: ${messageOf(error)}` };
    }
  }

  /** Writes come after the decision, and never on a dry run. */
  async function mutateAndWrite(request: AdmissionRequest): Promise<Decision> {
    const decision = mutate(request, settings());
    if (decision.result !== "patched" || request.dryRun) return decision;
    if (decision.tokens) await ensureTokens(request.namespace);
    if (decision.claimTemplates.length > 0) await ensureClaimTemplates(request.namespace, decision.claimTemplates);
    return decision;
  }

  function logDecision(webhook: string, request: Partial<AdmissionRequest>, { result, reason }: Decision): void {
    const { uid, namespace, name, object, dryRun } = request;
    const { generateName } = (object as { metadata?: { generateName?: string } } | undefined)?.metadata ?? {};
    logInfo(log, "Reviewed", { webhook, uid, namespace, name: name || generateName, result, reason, dryRun });
  }

  return new Elysia()
    .onError(({ code, error, path, set }) => {
      if (code === "NOT_FOUND") return new Response("Not found\n", { status: 404 });
      const isUnreadable = code === "PARSE";
      const reason = isUnreadable ? "Cannot read the body: expected JSON" : `The webhook failed: ${messageOf(error)}`;
      log.error("Request failed", { path, reason });
      set.status = 200; // the API server reads no review of another status
      const topic = isUnreadable ? "unreadable" : "internal";
      metrics.reviews.observe({ webhook: path.slice(1), result: "errored", reason: topic }, 0);
      const review = writeReview("", { result: "errored", topic, code: isUnreadable ? 400 : 500, reason });
      return new Response(review, JSON_BODY);
    })
    .get("/livez", () => new Response("ok\n"))
    .get("/readyz", () => readiness(notReady(), detail?.()))
    .post("/mutate", ({ request, body }) => review("mutate", request, body, mutateAndWrite), { parse: "json" })
    .post("/validate", ({ request, body }) => review("validate", request, body, (it) => validate(it, settings())), {
      parse: "json",
    });
}
