import { isObject, isOptional, isOptionalText, isText } from "../pod/check.ts";
import { REVIEW_VERSION } from "../pod/keys.ts";
import type { AdmissionRequest } from "./review.ts";

/** A request as it arrives: what the API server leaves out has no default yet. */
export type ArrivedRequest = Omit<AdmissionRequest, "name" | "namespace" | "dryRun"> &
  Pick<AdmissionRequest, "uid" | "operation"> &
  Partial<Pick<AdmissionRequest, "name" | "namespace" | "dryRun">>;

/**
 * Whether a body is an AdmissionReview, by the rules of the schema but without the copies that it makes: 0.3 µs instead of 1.5. The schema
 * has the last word on what is none here, and says what is wrong with it.
 */
export function isReview(body: unknown): body is { readonly request: ArrivedRequest } {
  if (!isObject(body)) return false;
  const { apiVersion, kind, request } = body;
  return apiVersion === REVIEW_VERSION && kind === "AdmissionReview" && isRequest(request);
}

function isRequest(request: unknown): boolean {
  if (!isObject(request)) return false;
  const { uid, resource, kind, subResource, name, namespace, operation, dryRun } = request;
  return (
    isText(uid) &&
    uid !== "" &&
    (resource ?? kind) !== undefined &&
    isOptional(resource, isResource) &&
    isOptional(kind, isKind) &&
    isOptionalText(subResource) &&
    isOptionalText(name) &&
    isOptionalText(namespace) &&
    isText(operation) &&
    isOptional(dryRun, isBoolean)
  );
}

function isResource(value: unknown): boolean {
  return isObject(value) && isText(value.group) && isText(value.version) && isText(value.resource);
}

function isKind(value: unknown): boolean {
  return isObject(value) && isText(value.group) && isText(value.version) && isText(value.kind);
}

function isBoolean(value: unknown): boolean {
  return typeof value === "boolean";
}
