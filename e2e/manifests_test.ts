import { expect, test } from "bun:test";
import { type Manifest, readManifests } from "./steps/manifests.ts";

const manifests = await readManifests(".");
const workloads = manifests.filter(({ spec }) => spec?.template);
const namesOf = (objects: readonly Manifest[]) => objects.map(({ metadata: { name } }) => name).sort();

function named(kind: string, name: string): Manifest | undefined {
  return manifests.find((object) => object.kind === kind && object.metadata.name === name);
}

/** The Pod Security Standard that a namespace enforces. */
function standardOf(namespace: string): string {
  return named("Namespace", namespace)?.metadata.labels?.["pod-security.kubernetes.io/enforce"] ?? "";
}

test("the webhook and the controller run in a restricted namespace, and the plugin in one of its own", () => {
  const standards = workloads.map(({ metadata: { name, namespace = "" } }) => [name, namespace, standardOf(namespace)]);
  expect(standards.sort()).toEqual([
    ["bitfusion-controller", "bitfusion-system", "restricted"],
    ["bitfusion-device-plugin", "bitfusion-node", "privileged"],
    ["bitfusion-webhook", "bitfusion-system", "restricted"],
  ]);
});

test("pods in a restricted namespace keep the Pod Security Standard", () => {
  for (const { metadata, spec } of workloads.filter(
    ({ metadata }) => standardOf(metadata.namespace ?? "") === "restricted",
  )) {
    const { containers, volumes = [], ...pod } = spec.template.spec;
    for (const host of ["hostNetwork", "hostPID", "hostIPC"]) expect(pod, metadata.name).not.toHaveProperty(host);
    for (const volume of volumes) expect(volume, metadata.name).not.toHaveProperty("hostPath");
    for (const { securityContext } of containers) {
      expect(securityContext, metadata.name).toMatchObject({
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        runAsNonRoot: true,
        seccompProfile: { type: "RuntimeDefault" },
      });
    }
  }
});

test("both webhooks ignore the namespaces of the programs", () => {
  const namespaces = namesOf(manifests.filter(({ kind }) => kind === "Namespace"));
  for (const kind of ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]) {
    for (const { namespaceSelector } of named(kind, "bitfusion-webhook")?.webhooks ?? []) {
      expect(namespaceSelector.matchExpressions[0].values).toEqual(expect.arrayContaining(namespaces));
    }
  }
});

test("no role has a wildcard", () => {
  const roles = manifests.filter(({ rules }) => rules);
  expect(roles.length).toBeGreaterThan(4);
  const values = roles.flatMap(({ rules }) => rules.flatMap((rule: object) => Object.values(rule).flat()));
  expect(values).not.toContain("*");
});
