import { isStatus } from "../../../kubernetes/error.ts";
import { DEVICE_TAINT_RULES, type DeviceTaintRule } from "../../../kubernetes/objects/device_taint_rule.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import { listFirstVersion } from "../../../kubernetes/watch.ts";
import { describeFailure } from "../../source/unread.ts";
import { UserError } from "../user_error.ts";
import type { RuleChange } from "./rules.ts";

/** The ClusterRole that allows to change DeviceTaintRules: examples/kubectl_roles.yaml. */
const OPERATOR_ROLE = "bitfusion-pool-operator";

/** Of {@link DeviceTaintRule}s, as kubectl and RBAC name them. */
const RESOURCE = "devicetaintrules.resource.k8s.io";

/** The rules of a cluster, and where they are. */
export interface TaintRules {
  /** Path of the collection, of the best version that the API server has. */
  readonly path: string;
  /** Such as resource.k8s.io/v1. */
  readonly apiVersion: string;
  readonly rules: readonly DeviceTaintRule[];
}

/** Reads the rules. @throws {UserError} if the API server has none, or if the user may not. */
export async function readTaintRules(request: KubernetesRequest, signal: AbortSignal): Promise<TaintRules> {
  const transform = (rule: DeviceTaintRule) => rule;
  try {
    const { path, objects } = await listFirstVersion({ request, paths: DEVICE_TAINT_RULES, transform }, signal);
    return { path, apiVersion: path.split("/").slice(2, 4).join("/"), rules: [...objects.values()] };
  } catch (error) {
    if (!isStatus(error, 404)) throw new UserError(describeFailure(`list ${RESOURCE}`, error, OPERATOR_ROLE));
    throw new UserError(
      "The API server has no DeviceTaintRules: they need Kubernetes 1.37, or 1.36 with the feature gate DRADeviceTaintRules and the API resource.k8s.io/v1beta2. " +
        "Drain the server itself instead: docs/pool-servers.md#drain-a-server",
    );
  }
}

/**
 * Makes a change of a rule. A change that somebody else has made at the same time is as good.
 *
 * @param dryRun the API server checks the change and the user's rights, and changes nothing
 * @throws {UserError} names the rule and the right that is missing.
 */
export async function applyChange(
  change: RuleChange,
  { request, path, dryRun, signal }: { request: KubernetesRequest; path: string; dryRun: boolean; signal: AbortSignal },
): Promise<void> {
  const query: Record<string, string> = dryRun ? { dryRun: "All" } : {};
  const { action, name } = change;
  const own = `${path}/${name}`;
  try {
    if (action === "create") {
      await request(path, { method: "POST", query, body: change.rule, signal });
    } else if (action === "update") {
      const contentType = "application/merge-patch+json";
      await request(own, { method: "PATCH", query, body: change.patch, contentType, signal });
    } else if (action === "delete") {
      await request(own, { method: "DELETE", query, signal });
    }
  } catch (error) {
    if (action === "delete" && isStatus(error, 404)) return;
    if (action === "create" && isStatus(error, 409)) {
      throw new UserError(`Somebody else has created the DeviceTaintRule ${name} at the same time: try again`);
    }
    throw new UserError(describeFailure(`${action} ${RESOURCE} ${name}`, error, OPERATOR_ROLE));
  }
}
