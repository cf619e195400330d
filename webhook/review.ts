import type { Operation } from "rfc6902";
import * as v from "valibot";
import { describeIssue } from "../program/issue.ts";
import type { ClaimTemplate } from "./claim.ts";
import { REVIEW_VERSION } from "./keys.ts";
import { isReview } from "./review_check.ts";

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

/** What the API server leaves out. */
const DEFAULTS = { name: "", namespace: "", dryRun: false };

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
      readonly operations: readonly Operation[];
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
  if (isReview(body)) return { request: { ...DEFAULTS, ...body.request } };
  const { success, output, issues } = v.safeParse(AdmissionReview, body);
  if (success) return { request: output.request };
  const uid = (body as { request?: { uid?: unknown } } | null)?.request?.uid;
  const reason = `Cannot read the AdmissionReview: ${describeIssue(issues[0])}`;
  return {
    uid: typeof uid === "string" ? uid : "",
    decision: { result: "errored", topic: "unreadable", code: 400, reason },
  };
}

/** The answer as an AdmissionReview: the uid echoed, patch and patchType together or not at all. */
export function toReview(uid: string, decision: Decision) {
  const { warnings = [] } = decision;
  return {
    apiVersion: REVIEW_VERSION,
    kind: "AdmissionReview",
    response: { uid, ...toResponse(decision), ...(warnings.length > 0 ? { warnings } : {}) },
  };
}

function toResponse(decision: Decision) {
  switch (decision.result) {
    case "allowed":
      return { allowed: true };
    case "patched":
      return {
        allowed: true,
        patchType: "JSONPatch",
        patch: toBase64(JSON.stringify(decision.operations)),
      };
    case "denied":
      return { allowed: false, status: { code: 403, reason: "Forbidden", message: decision.reason } };
    case "errored": {
      const { code, reason: message } = decision;
      return { allowed: false, status: { code, reason: code === 500 ? "InternalError" : "BadRequest", message } };
    }
  }
}

/** Of UTF-8. Most patches are ASCII, for which btoa takes a quarter of the time. */
function toBase64(text: string): string {
  const isAscii = Buffer.byteLength(text) === text.length;
  return isAscii ? btoa(text) : Buffer.from(text).toString("base64");
}
