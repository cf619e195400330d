import * as v from "valibot";
import { describeIssue } from "../../program/describe_issue.ts";
import { Pod } from "../pod/pod.ts";
import { isPod } from "../pod/pod_check.ts";
import { Refusal } from "../pod/refusal.ts";
import type { AdmissionRequest, Decision } from "./review.ts";

/** Namespaces that are always left alone, as in the original. */
const IGNORED_NAMESPACES = ["kube-system", "kube-public", "kube-node-lease"];

/** The kubelet's own record of a static pod (k8s.io/kubernetes/pkg/kubelet/types): it runs already. */
const MIRROR_ANNOTATION = "kubernetes.io/config.mirror";

/** Decides about the pod that a request creates. Whatever else it may be is allowed. @throws what `decide` throws, but Refusals. */
export function decidePod(request: AdmissionRequest, decide: (pod: Pod) => Decision): Decision {
  const { subResource, operation, namespace, object } = request;
  if (operation !== "CREATE" || !createsPod(request) || subResource) {
    return { result: "allowed", topic: "other", reason: "No pod is created" };
  }
  if (IGNORED_NAMESPACES.includes(namespace)) {
    return { result: "allowed", topic: "namespace", reason: `Namespace ${namespace} is left alone` };
  }
  const issue = isPod(object) ? undefined : v.safeParse(Pod, object).issues?.[0];
  if (issue) {
    const reason = `Cannot read the pod: ${describeIssue(issue)}`;
    return { result: "errored", topic: "unreadable", code: 400, reason };
  }
  const pod = object as Pod; // the raw one: a parsed one might have lost something
  if (pod.metadata.annotations?.[MIRROR_ANNOTATION] !== undefined) {
    return { result: "allowed", topic: "mirror", reason: "A mirror pod is left alone" };
  }
  try {
    return decide(pod);
  } catch (error) {
    if (error instanceof Refusal) return { result: "denied", topic: error.topic, reason: error.message };
    throw error;
  }
}

/** The resource that was asked for; the kind tells as well. */
function createsPod({ resource, kind }: AdmissionRequest): boolean {
  const { group, version } = resource ?? kind ?? {};
  return group === "" && version === "v1" && (resource ? resource.resource === "pods" : kind?.kind === "Pod");
}
