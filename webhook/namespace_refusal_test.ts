import { expect, test } from "bun:test";
import { KubernetesError, toKubernetesError } from "../kubernetes/error.ts";
import { refusalByNamespace } from "./namespace_refusal.ts";

/** The error of a call that the API server answers with this Status. */
function forbidden(message: string, details: object = { name: "bitfusion-secret", kind: "secrets" }): KubernetesError {
  const status = { kind: "Status", apiVersion: "v1", status: "Failure", code: 403, reason: "Forbidden" };
  const body = JSON.stringify({ ...status, message: `secrets "bitfusion-secret" is forbidden: ${message}`, details });
  return toKubernetesError("POST /api/v1/namespaces/team/secrets", 403, body);
}

test("refusalByNamespace() passes on which quota is used up, and says what to do", () => {
  const quota = "exceeded quota: objects, requested: count/secrets=1, used: count/secrets=9, limited: count/secrets=9";
  expect(refusalByNamespace(forbidden(quota), "team")).toMatchObject({
    reason: "quota",
    message: `Cannot create what the pod needs in namespace "team": ${quota}: raise the quota, or delete what it counts`,
  });
});

test("refusalByNamespace() says that the namespace is being deleted", () => {
  const message = "unable to create new content in namespace team because it is being terminated";
  const causes = [
    { reason: "NamespaceTerminating", message: "namespace team is being terminated", field: "metadata.namespace" },
  ];
  expect(refusalByNamespace(forbidden(message, { name: "bitfusion-secret", causes }), "team")).toMatchObject({
    reason: "namespace",
    message: 'Namespace "team" is being deleted: create the pod in another one',
  });
});

test.each([
  ["missing rights", forbidden('User "system:serviceaccount:x:y" cannot create resource "secrets"')],
  ["another status", new KubernetesError(500, "exceeded quota: objects")],
  ["an error of the connection", new Error("POST /api failed: exceeded quota: objects")],
])("refusalByNamespace() leaves %s an internal error", (_, error) => {
  expect(refusalByNamespace(error, "team")).toBeUndefined();
});
