import * as v from "valibot";
import { describeIssue } from "../../program/text/describe_issue.ts";
import type { Refusal } from "../pod/refusal.ts";

/** The version of AdmissionReviews that the webhook understands. */
const API_VERSION = "admission.k8s.io/v1";

/** The fields of an AdmissionReview request (k8s.io/api/admission/v1) that the webhook reads. Unknown fields are kept. */
const AdmissionReview = v.looseObject({
  apiVersion: v.literal(API_VERSION),
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

/** An operation of a JSON Patch (RFC 6902). */
export interface PatchOperation {
  readonly op: "add" | "replace";
  /** A JSON pointer. */
  readonly path: string;
  readonly value: unknown;
}

/** What a pod needs in its namespace. */
export interface Needs {
  /** Whether it needs the pool's token. */
  readonly tokens: boolean;
}

/** What the webhook decides about a request. */
export type Decision = {
  /** Why, as a label of the metrics. */
  readonly reason: string;
  /** Why, for the log and the user. */
  readonly message: string;
  /** Warnings for the user. At most 120 characters each. */
  readonly warnings?: readonly string[];
} & (
  | { readonly result: "allowed"; readonly needs?: Needs }
  | { readonly result: "patched"; readonly patch: readonly PatchOperation[]; readonly needs: Needs }
  /** The user must change the pod. */
  | { readonly result: "denied" }
  /** The request is invalid, or the webhook failed. */
  | { readonly result: "errored"; readonly code: 400 | 500 }
);

/** The decision for a {@link Refusal}. */
export function denied({ reason, message }: Refusal): Decision {
  return { result: "denied", reason, message };
}

type Errored = Extract<Decision, { result: "errored" }>;

/** The request of an AdmissionReview, or why it cannot be read, with the uid if it has one. */
export type ParsedReview =
  | { readonly request: AdmissionRequest }
  | { readonly uid: string; readonly decision: Errored };

export function parseReview(body: unknown): ParsedReview {
  const { success, output, issues } = v.safeParse(AdmissionReview, body);
  if (success) return { request: output.request };
  const uid = (body as { request?: { uid?: unknown } } | null)?.request?.uid;
  const message = `Cannot read the AdmissionReview: ${describeIssue(issues[0])}`;
  return {
    uid: typeof uid === "string" ? uid : "",
    decision: { result: "errored", reason: "unreadable", code: 400, message },
  };
}

/** The response as an AdmissionReview. It echoes the uid, and has patch and patchType together or not at all. */
export function toReview(uid: string, decision: Decision) {
  const { warnings = [] } = decision;
  const response = { uid, ...toResponse(decision), ...(warnings.length > 0 ? { warnings } : {}) };
  return { apiVersion: API_VERSION, kind: "AdmissionReview", response };
}

function toResponse(decision: Decision) {
  switch (decision.result) {
    case "allowed":
      return { allowed: true };
    case "patched":
      return { allowed: true, patchType: "JSONPatch", patch: encodeBase64(JSON.stringify(decision.patch)) };
    case "denied":
      return { allowed: false, status: { code: 403, reason: "Forbidden", message: decision.message } };
    case "errored": {
      const { code, message } = decision;
      return { allowed: false, status: { code, reason: code === 500 ? "InternalError" : "BadRequest", message } };
    }
  }
}

function encodeBase64(text: string): string {
  return Buffer.from(text).toString("base64");
}
