import * as v from "valibot";
import { DRIVER } from "../../pool/driver.ts";
import type { Manifest } from "../steps/manifests.ts";

/** A right of a service account: one verb on one resource. */
export interface Right {
  /** Such as `system:serviceaccount:bitfusion-system:bitfusion-webhook`. */
  user: string;
  verb: string;
  /** `resource.group`, with the subresource if any: `pods`, `leases.coordination.k8s.io`, `pods/status`. */
  resource: string;
  /** The only object; all objects if absent. */
  name?: string;
  /** The only namespace; all namespaces if absent. */
  namespace?: string;
}

interface Rule {
  verbs: readonly string[];
  apiGroups: readonly string[];
  resources: readonly string[];
  resourceNames?: readonly string[];
}

/** The rights that roles and bindings grant to the service accounts among the manifests. */
export function grantedRights(manifests: readonly Manifest[]): Right[] {
  const accounts = new Set(manifests.filter(({ kind }) => kind === "ServiceAccount").map(userOf));
  const bindings = manifests.filter(({ kind }) => kind === "ClusterRoleBinding" || kind === "RoleBinding");
  return bindings.flatMap(({ metadata, roleRef, subjects }) => {
    const role = manifests.find(
      ({ kind, metadata: { name, namespace } }) =>
        kind === roleRef.kind && name === roleRef.name && (kind === "ClusterRole" || namespace === metadata.namespace),
    );
    if (!role) throw new Error(`${metadata.name} refers to ${roleRef.kind} ${roleRef.name}, which the manifests lack`);
    const users = subjects
      .filter(({ kind }: { kind: string }) => kind === "ServiceAccount")
      .map((subject: Manifest["metadata"]) => userOf({ metadata: subject }))
      .filter((user: string) => accounts.has(user));
    const { namespace } = metadata;
    return users.flatMap((user: string) =>
      role.rules.flatMap((rule: Rule) =>
        expand(rule).map((right) => ({ user, ...right, ...(namespace === undefined ? {} : { namespace }) })),
      ),
    );
  });
}

function userOf({ metadata: { namespace, name } }: Pick<Manifest, "metadata">): string {
  return `system:serviceaccount:${namespace}:${name}`;
}

function expand({
  verbs,
  apiGroups,
  resources,
  resourceNames = [],
}: Rule): Pick<Right, "verb" | "resource" | "name">[] {
  const names = resourceNames.length > 0 ? resourceNames.map((name) => ({ name })) : [{}];
  return verbs.flatMap((verb) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) => names.map((name) => ({ verb, resource: join(resource, group), ...name }))),
    ),
  );
}

function join(resource: string, group: string): string {
  return group === "" ? resource : `${resource}.${group}`;
}

const AuditEvent = v.object({
  verb: v.string(),
  user: v.object({ username: v.string() }),
  objectRef: v.optional(
    v.object({
      resource: v.string(),
      subresource: v.optional(v.string()),
      apiGroup: v.optional(v.string(), ""),
      namespace: v.optional(v.string()),
      name: v.optional(v.string()),
    }),
  ),
  annotations: v.optional(v.record(v.string(), v.string()), {}),
});

/** A request for a resource. */
export interface ApiRequest extends Right {
  /** Whether a right allowed it. Admission may have refused it nevertheless. */
  isAllowed: boolean;
}

/** The requests of an audit log (audit.k8s.io/v1, one event per line) that are for resources. */
export function requestsOf(auditLog: string): ApiRequest[] {
  return auditLog
    .split("\n")
    .filter(Boolean)
    .flatMap((line) => {
      const { verb, user, objectRef, annotations } = v.parse(AuditEvent, JSON.parse(line));
      if (!objectRef) return []; // such as /version
      const { resource, subresource, apiGroup, namespace, name } = objectRef;
      return {
        user: user.username,
        verb,
        resource: join(subresource === undefined ? resource : `${resource}/${subresource}`, apiGroup),
        ...(name === undefined ? {} : { name }),
        ...(namespace === undefined ? {} : { namespace }),
        isAllowed: annotations["authorization.k8s.io/decision"] === "allow",
      };
    });
}

/** The verbs that each operation of admission stands for. */
const VERBS: Readonly<Record<string, readonly string[]>> = {
  CREATE: ["create"],
  UPDATE: ["update", "patch"],
  DELETE: ["delete"],
};

/** The check of a verb in an expression of a ValidatingAdmissionPolicy. */
const CHECK = /authorizer\.group\('(.*?)'\)\.resource\('(.*?)'\)\.name\('(.*?)'\)\.check\('(.*?)'\)/g;

/** The rights that admission policies and the API server have looked for because of these requests. */
export function checkedRights(manifests: readonly Manifest[], requests: readonly ApiRequest[]): Right[] {
  return [...checkedByPolicies(manifests, requests), ...checkedForClaims(requests)];
}

/** A driver that writes its entries in the status of claims needs a right on its name, too (KEP-4817). */
function checkedForClaims(requests: readonly ApiRequest[]): Right[] {
  return requests
    .filter(({ resource, isAllowed }) => isAllowed && resource === "resourceclaims/status.resource.k8s.io")
    .map(({ user, verb }) => {
      return { user, verb: `arbitrary-node:${verb}`, resource: "resourceclaims/driver.resource.k8s.io", name: DRIVER };
    });
}

function checkedByPolicies(manifests: readonly Manifest[], requests: readonly ApiRequest[]): Right[] {
  return manifests
    .filter(({ kind }) => kind === "ValidatingAdmissionPolicy")
    .flatMap(({ spec }) => {
      const guarded = new Set<string>(
        spec.matchConstraints.resourceRules.flatMap((rule: Rule & { operations: readonly string[] }) =>
          expand({ ...rule, verbs: rule.operations.flatMap((operation) => VERBS[operation] ?? []) }).map(
            ({ verb, resource }) => `${verb} ${resource}`,
          ),
        ),
      );
      const users = requests
        .filter(({ verb, resource, isAllowed }) => isAllowed && guarded.has(`${verb} ${resource}`))
        .map(({ user }) => user);
      const checks = [...JSON.stringify(spec).matchAll(CHECK)];
      return [...new Set(users)].flatMap((user) =>
        checks.map(([, group = "", resource = "", name = "", verb = ""]) => ({
          user,
          verb,
          resource: join(resource, group),
          name,
        })),
      );
    });
}

/** The rights that none of these requests needs. */
export function unusedRights(rights: readonly Right[], requests: readonly Right[]): Right[] {
  return rights.filter((right) => !requests.some((request) => covers(right, request)));
}

/** The requests that none of these rights allows. */
export function requestsWithoutRight(rights: readonly Right[], requests: readonly Right[]): Right[] {
  return requests.filter((request) => !rights.some((right) => covers(right, request)));
}

/** Whether a right allows a request. */
function covers(right: Right, request: Right): boolean {
  const isSame = right.user === request.user && right.verb === request.verb && right.resource === request.resource;
  const isNamed = right.name === undefined || right.name === request.name;
  return isSame && isNamed && (right.namespace === undefined || right.namespace === request.namespace);
}

/** Describes a right for an administrator. */
export function describeRight({ user, verb, resource, name, namespace }: Right): string {
  const account = user.split(":").at(-1);
  return `${account}: ${verb} ${resource}${name === undefined ? "" : ` ${name}`}${namespace === undefined ? "" : ` in ${namespace}`}`;
}
