import * as v from "valibot";
import { describeIssue } from "../../program/describe_issue.ts";
import type { ClaimTemplate } from "../claims/claim.ts";
import { encodePatch, type Patch } from "../patch/patch_text.ts";
import { REVIEW_VERSION } from "../pod/keys.ts";
import { type ArrivedRequest, isReview } from "./review_check.ts";

/** The part of an AdmissionReview request that is read here (k8s.io/api/admission/v1). */
const AdmissionReview = v.looseObject({
  apiVersion: v.literal(REVIEW_VERSION),
  kind: v.literal("AdmissionReview"),
  request: v.pipe(
    v.looseObject({
      uid: v.pipe(v.string(), v.nonEmpty("expected a uid")),
      resource: v.optional(v.looseObject({ group: v.string(), version: v.string(), resource: v.string() })),
      kind: v.optional(v.looseObject({ group: v.string(), version: v.string(), kind: v.string() })),
      subResource: v.optional(v.string()),
      name: v.optional(v.string(), ""),
      namespace: v.optional(v.string(), ""),
      operation: v.string(),
      dryRun: v.optional(v.boolean(), false),
      object: v.optional(v.unknown()),
    }),
    v.check(({ resource, kind }) => Boolean(resource ?? kind), "expected resource or kind"),
  ),
});

export type AdmissionRequest = v.InferOutput<typeof AdmissionReview>["request"];

/** What is decided about a request: the reason is for the log and the user, the topic a label of the metrics. */
export type Decision = {
  readonly topic: string;
  readonly reason: string;
  /** For the user, whatever the result; at most 120 characters each. */
  readonly warnings?: readonly string[];
} & (
  | { readonly result: "allowed" }
  | {
      readonly result: "patched";
      readonly patch: Patch;
      /** Whether the pool's tokens must be in the pod's namespace. */
      readonly tokens: boolean;
      /** What else must be there. */
      readonly claimTemplates: readonly ClaimTemplate[];
    }
  /** The user's pod is wrong. */
  | { readonly result: "denied" }
  /** We, or who called us, are wrong. */
  | { readonly result: "errored"; readonly code: 400 | 413 | 500 }
);

type Errored = Extract<Decision, { result: "errored" }>;

/** The request of an AdmissionReview; or what is wrong with it, and the uid if there is one. */
export type ParsedReview =
  | { readonly request: AdmissionRequest }
  | { readonly uid: string; readonly decision: Errored };

export function parseReview(body: unknown): ParsedReview {
  if (isReview(body)) return { request: withDefaults(body.request) };
  const { success, output, issues } = v.safeParse(AdmissionReview, body);
  if (success) return { request: output.request };
  const uid = (body as { request?: { uid?: unknown } } | null)?.request?.uid;
  const reason = `Cannot read the AdmissionReview: ${describeIssue(issues[0])}`;
  return {
    uid: typeof uid === "string" ? uid : "",
    decision: { result: "errored", topic: "unreadable", code: 400, reason },
  };
}

/** What the API server leaves out. Set in place: a copy is of no use to anybody. */
function withDefaults(request: ArrivedRequest): AdmissionRequest {
  request.name ??= "";
  request.namespace ??= "";
  request.dryRun ??= false;
  return request as AdmissionRequest;
}

/** The answer as an AdmissionReview in JSON: the uid echoed, patch and patchType together or not at all. */
export function writeReview(uid: string, decision: Decision): string {
  const { warnings = [] } = decision;
  const response = { uid, ...toResponse(decision), ...(warnings.length > 0 ? { warnings } : {}) };
  const review = JSON.stringify({ apiVersion: REVIEW_VERSION, kind: "AdmissionReview", response });
  if (decision.result !== "patched") return review;
  // The patch is most of it: put in here it is not looked through for what JSON escapes, of which base64 has nothing.
  return `${review.slice(0, -2)},"patchType":"JSONPatch","patch":"${encodePatch(decision.patch)}"}}`;
}

function toResponse(decision: Decision) {
  switch (decision.result) {
    case "allowed":
    case "patched":
      return { allowed: true };
    case "denied":
      return { allowed: false, status: { code: 403, reason: "Forbidden", message: decision.reason } };
    case "errored": {
      const { code, reason: message } = decision;
      return { allowed: false, status: { code, reason: code === 500 ? "InternalError" : "BadRequest", message } };
    }
  }
}
