import { expect, test } from "bun:test";
import { readMode } from "../webhook/pod/mode.ts";
import { describeRight, grantedRights, requestsWithoutRight } from "./records/rights.ts";
import { exec } from "./steps/exec.ts";
import { KUSTOMIZATIONS } from "./steps/installation.ts";
import { type Manifest, readManifests, renderManifests } from "./steps/manifests.ts";

const WEBHOOK = "system:serviceaccount:bitfusion-system:bitfusion-webhook";

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

test("each container has requests, and limits of all that cannot be throttled", () => {
  for (const { metadata, spec } of workloads) {
    for (const { resources } of spec.template.spec.containers) {
      expect(Object.keys(resources.requests).sort(), metadata.name).toEqual(["cpu", "ephemeral-storage", "memory"]);
      expect(Object.keys(resources.limits).sort(), metadata.name).toEqual(["ephemeral-storage", "memory"]);
    }
  }
});

test("a drained node takes at most one replica of each Deployment", () => {
  const budgets = manifests.filter(({ kind }) => kind === "PodDisruptionBudget");
  const deployments = workloads.filter(({ kind }) => kind === "Deployment");
  expect(namesOf(budgets)).toEqual(namesOf(deployments));
  for (const { metadata, spec } of deployments) {
    const budget = named("PodDisruptionBudget", metadata.name)?.spec;
    expect(budget.selector).toEqual(spec.selector);
    expect(budget.minAvailable).toBe(spec.replicas - 1);
  }
});

const WEBHOOKS = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"].flatMap(
  (kind) => named(kind, "bitfusion-webhook")?.webhooks ?? [],
);

test("both webhooks, and the policy of labelled namespaces, ignore the namespaces of the programs", () => {
  const namespaces = namesOf(manifests.filter(({ kind }) => kind === "Namespace"));
  const { matchConstraints } = named("MutatingAdmissionPolicy", "bitfusion-namespaces")?.spec ?? {};
  const selectors = [matchConstraints, ...WEBHOOKS].map(({ namespaceSelector }) => namespaceSelector);
  expect(selectors).toHaveLength(3);
  for (const { matchExpressions } of selectors) {
    expect(matchExpressions[0].values).toEqual(expect.arrayContaining(namespaces));
  }
});

test("the webhooks do not get annotated pods that they would leave alone", () => {
  expect(WEBHOOKS).toHaveLength(2);
  for (const { matchConditions } of WEBHOOKS) {
    const [, list = ""] = /lowerAscii\(\) in \[(.*?)\]/.exec(matchConditions[0].expression) ?? [];
    const modes = list.split(", ").map((value) => readMode({ "auto-management/bitfusion": value.slice(1, -1) }));
    expect(modes).toEqual(["off", "off", "off", "off", "off"]);
  }
});

test("no role has a wildcard", () => {
  const roles = manifests.filter(({ rules }) => rules);
  expect(roles.length).toBeGreaterThan(4);
  const values = roles.flatMap(({ rules }) => rules.flatMap((rule: object) => Object.values(rule).flat()));
  expect(values).not.toContain("*");
});

test("the webhook has no rights on Secrets outside its own namespace", () => {
  const rights = grantedRights(manifests).filter(({ user, resource }) => user === WEBHOOK && resource === "secrets");
  expect(rights.map(describeRight).sort()).toEqual([
    "bitfusion-webhook: create secrets in bitfusion-system",
    "bitfusion-webhook: get secrets bitfusion-webhook-tls in bitfusion-system",
    "bitfusion-webhook: update secrets bitfusion-webhook-tls in bitfusion-system",
  ]);
  const [webhook] = named("MutatingWebhookConfiguration", "bitfusion-webhook")?.webhooks ?? [];
  expect(webhook.sideEffects).toBe("None");
});

test.skipIf(!Bun.which("kubectl"))("the component for units changes nothing but what units need", async () => {
  const [claims, units] = await Promise.all([
    renderManifests(KUSTOMIZATIONS.claims),
    renderManifests(KUSTOMIZATIONS.units),
  ]);
  expect(units.filter(({ apiVersion }) => apiVersion.startsWith("resource.k8s.io/"))).toEqual([]); // not in Kubernetes 1.33
  const pools = units.filter(
    ({ kind, metadata }) => kind === "ConfigMap" && metadata.name.startsWith("bitfusion-pool-"),
  );
  expect(pools.map(({ metadata, data }) => [metadata.namespace, data.ALLOCATION]).sort()).toEqual([
    ["bitfusion-node", "units"],
    ["bitfusion-system", "units"],
  ]);
  const [webhook] = units.find(({ kind }) => kind === "MutatingWebhookConfiguration")?.webhooks ?? [];
  expect(webhook.sideEffects).toBe("NoneOnDryRun"); // the webhook copies the token
  const poolPrograms = units
    .filter(({ kind, metadata }) => kind === "NetworkPolicy" && metadata.name === "bitfusion-pool-servers")
    .map(({ spec }) => spec.podSelector.matchExpressions[0].values);
  const all = ["bitfusion-controller", "bitfusion-device-plugin", "bitfusion-webhook"];
  expect(poolPrograms).toEqual([all, all]); // in both namespaces
  const directories = (manifests: Manifest[]): string[] =>
    manifests
      .find(({ kind }) => kind === "DaemonSet")
      ?.spec.template.spec.volumes.map(({ hostPath }: { hostPath: { path: string } }) => hostPath.path);
  expect(directories(units).filter((path) => !directories(claims).includes(path))).toEqual([
    "/var/lib/kubelet/device-plugins",
  ]);
  const added = requestsWithoutRight(grantedRights(claims), grantedRights(units)).map(describeRight);
  expect(added.sort()).toEqual([
    "bitfusion-webhook: create secrets",
    "bitfusion-webhook: get namespaces bitfusion-system in bitfusion-system",
    "bitfusion-webhook: get secrets bitfusion-secret",
    "bitfusion-webhook: get secrets bitfusion-secret in kube-system",
    "bitfusion-webhook: update secrets bitfusion-secret",
  ]);
  const names = (objects: Manifest[]) =>
    objects
      .filter(({ kind }) => kind !== "ConfigMap")
      .map(describe)
      .sort();
  expect(names(claims).filter((name) => !names(units).includes(name))).toEqual([
    "DeviceClass bitfusion.io",
    "MutatingAdmissionPolicy bitfusion-namespaces",
    "MutatingAdmissionPolicyBinding bitfusion-namespaces",
  ]);
});

test("the console has no right but to read what its page shows, and runs as its namespace demands", async () => {
  const objects = await readManifests("console/page/deploy");
  expect(grantedRights(objects).map(describeRight).sort()).toEqual(
    [
      "devicetaintrules.resource.k8s.io",
      "events",
      "pods",
      "resourceclaims.resource.k8s.io",
      "resourceslices.resource.k8s.io",
    ]
      .flatMap((resource) => [`bitfusion-console: list ${resource}`, `bitfusion-console: watch ${resource}`])
      .sort(),
  );
  const { metadata, spec } = objects.find(({ kind }) => kind === "Deployment") as Manifest;
  expect(standardOf(metadata.namespace ?? "")).toBe("restricted");
  const [container] = spec.template.spec.containers;
  expect(container.securityContext).toMatchObject({
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
  expect(Object.keys(container.resources.limits).sort()).toEqual(["ephemeral-storage", "memory"]);
});

function describe({ kind, metadata: { name } }: Manifest): string {
  return `${kind} ${name}`;
}

const isInstalled = Bun.which("kubectl") && Bun.which("kube-score");

test.skipIf(!isInstalled)("kube-score finds nothing that the manifests do not explain", async () => {
  const rendered = await exec(["kubectl", "kustomize", "."]);
  await exec(["kube-score", "score", "-", "--exit-one-on-warning"], { stdin: rendered });
});
