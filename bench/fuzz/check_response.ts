import * as v from "valibot";
import type { HttpResponse } from "../webhook/connection.ts";
import type { RandomRequest } from "./random_request.ts";

/** The kind of a response, and what is wrong with it, if anything. */
export interface ResponseCheck {
  readonly outcome: string;
  readonly problem?: string;
}

/** The webhook responds with 413 to larger bodies (webhook/server.ts). */
const MAX_BODY_SIZE = 7 * 1024 * 1024;

const Review = v.object({
  apiVersion: v.literal("admission.k8s.io/v1"),
  kind: v.literal("AdmissionReview"),
  response: v.variant("allowed", [
    v.object({
      uid: v.string(),
      allowed: v.literal(true),
      patchType: v.optional(v.literal("JSONPatch")),
      patch: v.optional(v.string()),
    }),
    v.object({
      uid: v.string(),
      allowed: v.literal(false),
      status: v.object({ code: v.number(), message: v.pipe(v.string(), v.nonEmpty()) }),
    }),
  ]),
});

/** Checks a response: an AdmissionReview with HTTP 200 and no internal error, or HTTP 413 to a too large request. */
export function checkResponse(
  { kind, body }: RandomRequest,
  { status, body: responseBody }: HttpResponse,
): ResponseCheck {
  const isTooLarge = Buffer.byteLength(body) > MAX_BODY_SIZE;
  const outcome = `HTTP ${status}`;
  if (isTooLarge) return status === 413 ? { outcome } : { outcome, problem: "expected HTTP 413" };
  if (status !== 200) return { outcome, problem: "expected HTTP 200" };
  const review = v.safeParse(Review, parse(responseBody.toString()));
  if (!review.success) return { outcome: "no AdmissionReview", problem: responseBody.toString().slice(0, 1000) };
  const { response } = review.output;
  if (kind === "review" && !String(body).includes(`"uid":"${response.uid}"`)) {
    return { outcome: "wrong uid", problem: `uid is "${response.uid}"` };
  }
  if (!response.allowed) {
    const { code, message } = response.status;
    if (code === 403) return { outcome: "denied" };
    return code === 400 ? { outcome: "error 400" } : { outcome: `error ${code}`, problem: message };
  }
  if (response.patch === undefined) return { outcome: "allowed" };
  const isPatch = response.patchType === "JSONPatch" && Array.isArray(parse(atob(response.patch)));
  return isPatch ? { outcome: "patched" } : { outcome: "patched", problem: `patch is "${response.patch}"` };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the caller reports it
  }
}
