import { Elysia } from "elysia";
import { readinessResponse } from "../../program/http/probes.ts";
import { type Logger, MAX_LOG_TEXT, messageOf } from "../../program/log/log.ts";
import { shorten } from "../../program/text/quote.ts";
import { createEndOfTick } from "../fast/end_of_tick.ts";
import type { ReviewLogEntry } from "../fast/review_log.ts";
import { Refusal } from "../pod/refusal.ts";
import type { WebhookMetrics } from "./metrics.ts";
import { type AdmissionRequest, type Decision, denied, parseReview, toReview } from "./review.ts";
import { timeLimitOf } from "./time_limit.ts";

/**
 * Decides about a request, at the latest when performance.now() is `deadline`.
 *
 * @throws {Refusal} to deny the request. Any other error becomes an internal error of the webhook.
 */
export type Handler = (request: AdmissionRequest, deadline: number) => Decision | Promise<Decision>;

export interface AppOptions {
  mutate: Handler;
  validate: Handler;
  log: Logger;
  logReview: (entry: ReviewLogEntry) => void;
  metrics: Pick<WebhookMetrics, "reviews">;
  /** What the program still waits for. Undefined if it is ready. */
  notReady: () => string | undefined;
  /** The response of /readyz while the program is ready. */
  detail?: () => string;
}

/** The webhook's HTTP interface: /mutate, /validate, /livez and /readyz. It opens no port. */
export function createApp({ mutate, validate, log, logReview, metrics, notReady, detail }: AppOptions) {
  const endOfTick = createEndOfTick();

  async function review(webhook: string, body: unknown, timeout: string | undefined, handler: Handler) {
    const arrival = performance.now();
    await endOfTick();
    const start = performance.now();
    const parsed = parseReview(body);
    const [request, decision] =
      "request" in parsed
        ? [parsed.request, await decide(parsed.request, { handler, timeout, arrival })]
        : [{ uid: parsed.uid }, parsed.decision];
    const { result, reason } = decision;
    metrics.reviews.observe({ webhook, result, reason }, (performance.now() - start) / 1000);
    logDecision(webhook, request, decision);
    return toReview(request.uid, decision);
  }

  async function decide(
    request: AdmissionRequest,
    { handler, timeout, arrival }: { handler: Handler; timeout: string | undefined; arrival: number },
  ): Promise<Decision> {
    const timeLimit = timeLimitOf(timeout);
    if (!timeLimit) {
      const message = `Cannot use timeout="${shorten(timeout ?? "")}": expected a duration such as 5s`;
      return { result: "errored", reason: "unreadable", code: 400, message };
    }
    try {
      return await handler(request, arrival + timeLimit);
    } catch (error) {
      if (error instanceof Refusal) return denied(error);
      log.error("Review failed", { uid: request.uid, error });
      return { result: "errored", reason: "internal", code: 500, message: `The webhook failed: ${messageOf(error)}` };
    }
  }

  function logDecision(webhook: string, request: Partial<AdmissionRequest>, { result, message }: Decision): void {
    const { uid, namespace, name, object, dryRun } = request;
    const { generateName } = (object as { metadata?: { generateName?: unknown } } | undefined)?.metadata ?? {};
    const logged = name || (typeof generateName === "string" ? generateName : "") || undefined; // not yet validated
    logReview({
      webhook,
      uid,
      namespace,
      name: logged && shorten(logged),
      result,
      reason: shorten(message, MAX_LOG_TEXT),
      dryRun,
    });
  }

  return new Elysia()
    .onError(({ code, error, path, set }) => {
      if (code === "NOT_FOUND") return new Response("Not found\n", { status: 404 });
      const isUnreadable = code === "PARSE";
      const message = isUnreadable ? "Cannot read the body: expected JSON" : `The webhook failed: ${messageOf(error)}`;
      log.error("Request failed", { path, reason: message });
      set.status = 200; // the API server ignores the review in any other response
      const reason = isUnreadable ? "unreadable" : "internal";
      metrics.reviews.observe({ webhook: path.slice(1), result: "errored", reason }, 0);
      return Response.json(toReview("", { result: "errored", reason, code: isUnreadable ? 400 : 500, message }));
    })
    .get("/livez", () => new Response("ok\n"))
    .get("/readyz", () => readinessResponse(notReady(), detail?.()))
    .post("/mutate", ({ body, query }) => review("mutate", body, query.timeout, mutate), { parse: "json" })
    .post("/validate", ({ body, query }) => review("validate", body, query.timeout, validate), { parse: "json" });
}
