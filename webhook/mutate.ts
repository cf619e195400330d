import * as v from "valibot";
import { describeIssue } from "../program/issue.ts";
import { type InjectionSettings, inject } from "./injection.ts";
import { Pod } from "./pod.ts";
import { Refusal } from "./refusal.ts";
import type { AdmissionRequest, Decision } from "./review.ts";

/** Namespaces that are always left alone, as in the original. */
const IGNORED_NAMESPACES = ["kube-system", "kube-public", "kube-node-lease"];

/** Decides about one request. Pure: nothing is read or written here. */
export function decide(request: AdmissionRequest, settings: InjectionSettings): Decision {
  const { subResource, operation, namespace } = request;
  if (operation !== "CREATE" || !isPod(request) || subResource)
    return { result: "allowed", reason: "No pod is created" };
  if (IGNORED_NAMESPACES.includes(namespace))
    return { result: "allowed", reason: `Namespace ${namespace} is left alone` };
  const parsed = v.safeParse(Pod, request.object);
  if (!parsed.success) {
    return { result: "errored", code: 400, reason: `Cannot read the pod: ${describeIssue(parsed.issues[0])}` };
  }
  try {
    const { operations, reason } = inject(request.object as Pod, settings);
    return operations.length === 0 ? { result: "allowed", reason } : { result: "patched", reason, operations };
  } catch (error) {
    if (error instanceof Refusal) return { result: "denied", reason: error.message };
    throw error;
  }
}

/** The resource that was asked for; the kind tells as well. */
function isPod({ resource, kind }: AdmissionRequest): boolean {
  const { group, version } = resource ?? kind ?? {};
  return group === "" && version === "v1" && (resource ? resource.resource === "pods" : kind?.kind === "Pod");
}
