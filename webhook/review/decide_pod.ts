import * as v from "valibot";
import { describeIssue } from "../../program/text/describe_issue.ts";
import { isPod } from "../fast/is_pod.ts";
import { Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { type AdmissionRequest, type Decision, denied } from "./review.ts";

/** Namespaces that the webhook leaves alone, as the original does. */
const EXCLUDED_NAMESPACES = ["kube-system", "kube-public", "kube-node-lease"];

/** Marks the API server's copy of a static pod, which runs already (k8s.io/kubernetes/pkg/kubelet/types). */
const MIRROR_ANNOTATION = "kubernetes.io/config.mirror";

/** Decides about the pod that a request creates, and denies it if `decide` throws a {@link Refusal}. Any other request is allowed. */
export function decidePod(request: AdmissionRequest, decide: (pod: Pod) => Decision): Decision {
  const { subResource, operation, namespace, object } = request;
  if (operation !== "CREATE" || !isForPods(request) || subResource) {
    return { result: "allowed", reason: "other", message: "No pod is created" };
  }
  if (EXCLUDED_NAMESPACES.includes(namespace)) {
    return { result: "allowed", reason: "namespace", message: `Namespace ${namespace} is excluded` };
  }
  const issue = isPod(object) ? undefined : v.safeParse(Pod, object).issues?.[0];
  if (issue) {
    return {
      result: "errored",
      reason: "unreadable",
      code: 400,
      message: `Cannot read the pod: ${describeIssue(issue)}`,
    };
  }
  const pod = object as Pod; // not a parsed copy, which might lack fields
  if (pod.metadata.annotations?.[MIRROR_ANNOTATION] !== undefined) {
    return { result: "allowed", reason: "mirror", message: "Mirror pods are excluded" };
  }
  try {
    return decide(pod);
  } catch (error) {
    if (error instanceof Refusal) return denied(error);
    throw error;
  }
}

function isForPods({ resource, kind }: AdmissionRequest): boolean {
  const { group, version } = resource ?? kind ?? {};
  return group === "" && version === "v1" && (resource ? resource.resource === "pods" : kind?.kind === "Pod");
}
