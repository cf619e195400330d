import { expect, test } from "bun:test";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";

async function read(name: string): Promise<string> {
  return await Bun.file(join(import.meta.dir, "deploy", name)).text();
}

test("the DaemonSet has no privileges that it does not need", async () => {
  const { spec } = parse(await read("daemonset.yaml")).spec.template;
  for (const host of ["hostNetwork", "hostPID", "hostIPC"]) expect(spec).not.toHaveProperty(host);
  expect(spec.containers).toHaveLength(1);
  const [{ securityContext, volumeMounts }] = spec.containers;
  expect(securityContext).toEqual({
    runAsUser: 0,
    runAsGroup: 0,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    readOnlyRootFilesystem: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
  const paths = spec.volumes.map(({ hostPath }: { hostPath: { path: string } }) => hostPath.path);
  expect(paths).toEqual([
    "/var/lib/kubelet/pod-resources",
    "/var/lib/kubelet/plugins_registry",
    "/var/lib/kubelet/plugins",
    "/var/run/cdi",
  ]);
  const readOnly = volumeMounts.filter((mount: { readOnly?: boolean }) => mount.readOnly);
  expect(readOnly.map(({ name }: { name: string }) => name)).toEqual(["pod-resources"]);
});

test("the DaemonSet runs on every node, and is among the last to be evicted", async () => {
  const { spec } = parse(await read("daemonset.yaml")).spec.template;
  expect(spec).toMatchObject({ priorityClassName: "system-node-critical", tolerations: [{ operator: "Exists" }] });
});

test("the plugin's service account may only get ResourceClaims, ResourceSlices and pods, create events, and write the driver's entries in the status of claims", async () => {
  const documents = parseAllDocuments(await read("service_account.yaml")).map((document) => document.toJS());
  const rules = documents.flatMap(({ rules = [] }) => rules);
  expect(rules).toEqual([
    { apiGroups: ["resource.k8s.io"], resources: ["resourceclaims"], verbs: ["get"] },
    { apiGroups: ["resource.k8s.io"], resources: ["resourceslices"], verbs: ["get"] },
    { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
    { apiGroups: [""], resources: ["events"], verbs: ["create"] },
    { apiGroups: ["resource.k8s.io"], resources: ["resourceclaims/status"], verbs: ["patch"] },
    {
      apiGroups: ["resource.k8s.io"],
      resources: ["resourceclaims/driver"],
      resourceNames: ["bitfusion.io"],
      verbs: ["arbitrary-node:patch"],
    },
  ]);
});
