import * as v from "valibot";
import type { Answer } from "../webhook/connection.ts";
import type { RandomRequest } from "./random_request.ts";

/** What an answer is, and what is wrong with it, if something is. */
export interface Verdict {
  readonly outcome: string;
  readonly fault?: string;
}

/** More than that gets 413 (webhook/server.ts). */
const LARGEST_BODY = 7 * 1024 * 1024;

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

/** Every answer is an AdmissionReview with HTTP 200, except 413 for what is too large; and never an internal error. */
export function judge({ kind, body }: RandomRequest, { status, body: answer }: Answer): Verdict {
  const isTooLarge = Buffer.byteLength(body) > LARGEST_BODY;
  const outcome = `HTTP ${status}`;
  if (isTooLarge) return status === 413 ? { outcome } : { outcome, fault: "expected HTTP 413" };
  if (status !== 200) return { outcome, fault: "expected HTTP 200" };
  const review = v.safeParse(Review, parse(answer.toString()));
  if (!review.success) return { outcome: "no AdmissionReview", fault: answer.toString().slice(0, 1000) };
  const { response } = review.output;
  if (kind === "review" && !String(body).includes(`"uid":"${response.uid}"`)) {
    return { outcome: "wrong uid", fault: `uid is "${response.uid}"` };
  }
  if (!response.allowed) {
    const { code, message } = response.status;
    if (code === 403) return { outcome: "denied" };
    return code === 400 ? { outcome: "errored 400" } : { outcome: `errored ${code}`, fault: message };
  }
  if (response.patch === undefined) return { outcome: "allowed" };
  const isPatch = response.patchType === "JSONPatch" && Array.isArray(parse(atob(response.patch)));
  return isPatch ? { outcome: "patched" } : { outcome: "patched", fault: `patch is "${response.patch}"` };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // whoever wanted JSON says so
  }
}
