import { KubernetesError } from "../../../kubernetes/error.ts";
import { type Pod, requestedByPod } from "../../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import { RESOURCE_NAME } from "../../../pool/driver.ts";
import { POD_CLAIMS_ANNOTATION, type PodClaim, parsePodClaims } from "../../../pool/pod_claims.ts";
import { messageOf } from "../../../program/log/log.ts";
import { describeFailure } from "../../source/unread.ts";
import { UserError } from "../user_error.ts";
import type { PodTemplate, Submission } from "./templates.ts";

/** What the API server says to an object that it would create. */
export interface Admission {
  readonly isAdmitted: boolean;
  /** Why it is refused. */
  readonly refusal?: string;
  readonly warnings: readonly string[];
}

/** What it says to a pod, and what the pod then asks for. */
export interface PodAdmission extends Admission {
  readonly claims: readonly PodClaim[];
  /** The units that quotas count. */
  readonly units: number;
}

interface SubmitOptions {
  request: KubernetesRequest;
  signal: AbortSignal;
}

/** Applies an object in a dry run. @throws {UserError} if the user may not, or if the API server cannot tell. */
export async function submitObject({ manifest, path, name }: Submission, options: SubmitOptions): Promise<Admission> {
  const query = { dryRun: "All", fieldManager: "kubectl-bitfusion", force: "true" };
  const contentType = "application/apply-patch+yaml";
  const { request, signal } = options;
  const call = request(path, { method: "PATCH", query, contentType, body: manifest, signal });
  return (await submit(call, `apply ${name}`, signal)).admission;
}

/** Creates a pod of a template in a dry run: webhooks and policies see it as they see a real one. @throws {UserError} */
export async function submitPod({ pod, namespace, name }: PodTemplate, options: SubmitOptions): Promise<PodAdmission> {
  const { request, signal } = options;
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
  const call = request(path, { method: "POST", query: { dryRun: "All" }, body: pod, signal });
  const { admission, object } = await submit(call, `create a pod of ${name}`, signal);
  if (!object) return { ...admission, claims: [], units: 0 };
  const created = object as Pod;
  const text = created.metadata.annotations?.[POD_CLAIMS_ANNOTATION];
  return {
    ...admission,
    claims: text === undefined ? [] : parsePodClaims(text),
    units: requestedByPod(created, RESOURCE_NAME),
  };
}

async function submit(
  call: Promise<Response>,
  what: string,
  signal: AbortSignal,
): Promise<{ admission: Admission; object?: unknown }> {
  try {
    const response = await call;
    const warnings = parseWarnings(response.headers.get("Warning") ?? "");
    return { admission: { isAdmitted: true, warnings }, object: await response.json() };
  } catch (error) {
    if (signal.aborted) throw error;
    if (!isRefusal(error)) throw new UserError(describeFailure(`${what} in a dry run`, error, "edit of the namespace"));
    const refusal = messageOf(error).replace(/^\S+ \S+ answered \d+: /, "");
    return { admission: { isAdmitted: false, refusal, warnings: [] } };
  }
}

/** Whether the API server refuses the object, and not the user: RBAC's message says which user cannot do what. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof KubernetesError)) return false;
  if (error.code === 403) return !/ is forbidden: User "[^"]*" cannot /.test(error.message);
  return [400, 404, 409, 422].includes(error.code);
}

/** The texts of a Warning header (RFC 7234): `299 - "first", 299 - "second"`. */
export function parseWarnings(header: string): string[] {
  return [...header.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text.replace(/\\(.)/g, "$1"));
}
