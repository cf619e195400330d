import { expect, test } from "bun:test";
import {
  checkedRights,
  describeRight,
  grantedRights,
  type Right,
  requestsOf,
  requestsWithoutRight,
  unusedRights,
} from "./records/rights.ts";
import { type Manifest, readManifests } from "./steps/manifests.ts";

const WEBHOOK = "system:serviceaccount:bitfusion-system:bitfusion-webhook";
const CONTROLLER = "system:serviceaccount:bitfusion-system:bitfusion-controller";
const PLUGIN = "system:serviceaccount:bitfusion-node:bitfusion-device-plugin";
const manifests = await readManifests(".");

/** A line of the audit log. */
function line(user: string, verb: string, objectRef: object | undefined, decision = "allow"): string {
  const annotations = { "authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": "" };
  return JSON.stringify({
    kind: "Event",
    apiVersion: "audit.k8s.io/v1",
    verb,
    user: { username: user },
    objectRef,
    annotations,
  });
}

test("grantedRights() lists the rights of roles and cluster roles of each program", () => {
  const rights = grantedRights(manifests).map(describeRight);
  expect(rights).toEqual(
    expect.arrayContaining([
      "bitfusion-webhook: update secrets bitfusion-webhook-tls in bitfusion-system",
      "bitfusion-webhook: watch resourceslices.resource.k8s.io",
      "bitfusion-controller: get secrets bitfusion-secret in kube-system",
      "bitfusion-controller: publish deviceclasses.resource.k8s.io bitfusion.io",
      "bitfusion-controller: use deviceclasses.resource.k8s.io bitfusion.io",
      "bitfusion-device-plugin: get pods",
    ]),
  );
  expect(rights.filter((right) => !right.startsWith("bitfusion-"))).toEqual([]); // the control plane's own accounts
});

test("requestsOf() reads the requests for resources from an audit log", () => {
  const log = [
    line(WEBHOOK, "get", { resource: "secrets", namespace: "team", name: "bitfusion-secret", apiVersion: "v1" }),
    line(CONTROLLER, "patch", { resource: "nodes", subresource: "status", name: "n" }, "forbid"),
    line(CONTROLLER, "get", undefined),
    line(CONTROLLER, "list", { resource: "resourceslices", apiGroup: "resource.k8s.io" }),
    "",
  ].join("\n");
  expect(requestsOf(log)).toEqual([
    { user: WEBHOOK, verb: "get", resource: "secrets", namespace: "team", name: "bitfusion-secret", isAllowed: true },
    { user: CONTROLLER, verb: "patch", resource: "nodes/status", name: "n", isAllowed: false },
    { user: CONTROLLER, verb: "list", resource: "resourceslices.resource.k8s.io", isAllowed: true },
  ]);
});

const right: Right = { user: WEBHOOK, verb: "get", resource: "secrets" };

test.each<[right: Partial<Right>, request: Partial<Right>, isUsed: boolean]>([
  [{}, { namespace: "a", name: "b" }, true],
  [{}, { verb: "list" }, false],
  [{}, { user: CONTROLLER }, false],
  [{}, { resource: "secrets/status" }, false],
  [{ name: "b" }, { name: "b" }, true],
  [{ name: "b" }, { name: "c" }, false],
  [{ namespace: "a" }, { namespace: "a" }, true],
  [{ namespace: "a" }, { namespace: "b" }, false],
])("the right %j for the request %j", (granted, request, isUsed) => {
  const rights = [{ ...right, ...granted }];
  const requests = [{ ...right, ...request }];
  expect(unusedRights(rights, requests)).toEqual(isUsed ? [] : rights);
  expect(requestsWithoutRight(rights, requests)).toEqual(isUsed ? [] : requests);
});

test("checkedRights() returns what policies and the API server look for when a program writes", () => {
  const requests = requestsOf(
    [
      line(CONTROLLER, "create", { resource: "resourceclaims", apiGroup: "resource.k8s.io", namespace: "team" }),
      line(CONTROLLER, "create", { resource: "resourceslices", apiGroup: "resource.k8s.io" }, "forbid"),
      line(WEBHOOK, "list", { resource: "resourceclaims", apiGroup: "resource.k8s.io" }),
      line(PLUGIN, "patch", { resource: "resourceclaims", subresource: "status", apiGroup: "resource.k8s.io" }),
    ].join("\n"),
  );
  expect(checkedRights(manifests, requests)).toEqual([
    { user: CONTROLLER, verb: "use", resource: "deviceclasses.resource.k8s.io", name: "bitfusion.io" },
    {
      user: PLUGIN,
      verb: "arbitrary-node:patch",
      resource: "resourceclaims/driver.resource.k8s.io",
      name: "bitfusion.io",
    },
  ]);
});

test("grantedRights() refuses a binding whose role is missing", () => {
  const binding: Manifest = {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "b" },
    roleRef: { kind: "ClusterRole", name: "r" },
    subjects: [],
  };
  expect(() => grantedRights([binding])).toThrow("b refers to ClusterRole r, which the manifests lack");
});
