import { expect } from "bun:test";
import { apply, get, kubectl, rejectionMessage, waitFor } from "../steps/kubectl.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** A tenant with the role `edit` in one namespace. */
const TENANT = "--as=tenant";
const KEEP_RUNNING = ["sleep", "600"];
const POLICY = "claims for DeviceClass bitfusion.io are made by bitfusion-controller";

interface Claim {
  metadata: { name: string; ownerReferences?: { name: string }[] };
  status?: { allocation?: object };
}

async function admitTenant(namespace: string): Promise<void> {
  await kubectl("create", "rolebinding", "tenant", "--clusterrole=edit", "--user=tenant", "-n", namespace);
}

/** The spec of a claim for a share of the pool, or for another class. */
function claimSpec(units: number, deviceClassName = "bitfusion.io"): object {
  const exactly = { deviceClassName, capacity: { requests: { units: String(units) } } };
  return { devices: { requests: [{ name: "gpu", exactly }] } };
}

function claim(namespace: string, name: string, spec: object): object {
  return { apiVersion: "resource.k8s.io/v1", kind: "ResourceClaim", metadata: { name, namespace }, spec };
}

function template(namespace: string, name: string, spec: object): object {
  return {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceClaimTemplate",
    metadata: { name, namespace },
    spec: { spec },
  };
}

/** A pod without the annotation that uses a claim or a template directly. */
function claimingPod(namespace: string, name: string, resourceClaim: object, annotations: object = {}): object {
  const { metadata, spec, ...rest } = pod({
    namespace,
    name,
    containers: [{ name: "main", command: KEEP_RUNNING, resources: { claims: [{ name: "gpu" }] } }],
  });
  return {
    ...rest,
    metadata: { ...metadata, annotations },
    spec: { ...spec, resourceClaims: [{ name: "gpu", ...resourceClaim }] },
  };
}

async function claims(namespace: string): Promise<Claim[]> {
  return (await get<{ items: Claim[] }>("resourceclaims", "-n", namespace)).items;
}

/** Waits until the events of a pod contain a text, and checks that no container of it has started. */
async function waitForRefusal(namespace: string, name: string, text: string): Promise<void> {
  await waitFor(`"${text}" in the events of ${name}`, async () =>
    (await kubectl("describe", "pod", name, "-n", namespace)).includes(text),
  );
  const { status } = await get<{ status: { phase: string } }>("pod", name, "-n", namespace);
  expect(status.phase).toBe("Pending");
}

scenario(
  "a tenant cannot write claims or templates for the pool, nor request its devices directly",
  async (namespace) => {
    await admitTenant(namespace);
    expect(await rejectionMessage(template(namespace, "t", claimSpec(100)), TENANT)).toContain(POLICY);
    expect(await rejectionMessage(claim(namespace, "c", claimSpec(100)), TENANT)).toContain(POLICY);
    const alternatives = {
      firstAvailable: [
        { name: "a", deviceClassName: "other" },
        { name: "b", deviceClassName: "bitfusion.io" },
      ],
    };
    const either = { devices: { requests: [{ name: "gpu", ...alternatives }] } };
    expect(await rejectionMessage(claim(namespace, "c", either), TENANT)).toContain(POLICY);
    const limits = { "deviceclass.resource.kubernetes.io/bitfusion.io": 1 };
    for (const resources of [{ limits }, { limits, requests: limits }]) {
      const containers = [{ name: "main", command: KEEP_RUNNING, resources }];
      expect(await rejectionMessage(pod({ namespace, name: "extended", containers }), TENANT)).toContain(
        "is not counted by quotas",
      );
      const inInit = pod({ namespace, name: "extended", containers: [{ name: "app" }], initContainers: containers });
      expect(await rejectionMessage(inInit, TENANT)).toContain("is not counted by quotas");
    }
  },
);

scenario("a tenant can write claims for other drivers in every form", async (namespace) => {
  await admitTenant(namespace);
  const alternatives = [{ name: "a", deviceClassName: "other" }];
  const specs = {
    exact: claimSpec(1, "other"),
    either: { devices: { requests: [{ name: "gpu", firstAvailable: alternatives }] } },
    empty: {},
    "no-requests": { devices: {} },
  };
  for (const [name, spec] of Object.entries(specs)) {
    await apply(claim(namespace, name, spec), TENANT);
    await apply(template(namespace, name, spec), TENANT);
    await kubectl("annotate", "resourceclaim", name, "-n", namespace, "a=b", TENANT);
    await kubectl("delete", "resourceclaim,resourceclaimtemplate", name, "-n", namespace, TENANT);
  }
});

scenario("a tenant cannot free the claim of a running pod", async (namespace) => {
  await admitTenant(namespace);
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 30, command: KEEP_RUNNING }), TENANT);
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const [held] = await claims(namespace);
  const name = held?.metadata.name ?? "";
  const patch = (fields: object) =>
    kubectl("patch", "resourceclaim", name, "-n", namespace, "--type=merge", "-p", JSON.stringify(fields), TENANT).then(
      () => "patched",
      String,
    );
  expect(await patch({ metadata: { finalizers: null } })).toContain(POLICY);
  expect(await patch({ metadata: { ownerReferences: null } })).toContain(POLICY);
  expect(await patch({ metadata: { annotations: { "resource.kubernetes.io/pod-claim-name": "x" } } })).toContain(
    POLICY,
  );
  expect(await kubectl("delete", "resourceclaim", name, "-n", namespace, TENANT).catch(String)).toContain(POLICY);
  expect((await claims(namespace))[0]?.status?.allocation).toEqual(held?.status?.allocation as object);
  // Kubernetes itself deletes the claim with its pod.
  await kubectl("delete", "pod", "holder", "-n", namespace, TENANT);
  await waitFor("the deletion of the claim", async () => (await claims(namespace)).length === 0);
});

scenario("a claim that units do not cover starts no pod, whoever made it", async (namespace) => {
  const quota = { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "units", namespace } };
  await apply({ ...quota, spec: { hard: { "requests.bitfusion.io/gpu": "10" } } });
  await admitTenant(namespace);
  // As if they were made while the policy was away.
  await apply(claim(namespace, "own", claimSpec(100)));
  await apply(template(namespace, "own", claimSpec(100)));
  const uncovered = "but it requests 0 units of bitfusion.io/gpu";
  await apply(claimingPod(namespace, "with-claim", { resourceClaimName: "own" }), TENANT);
  await waitForRefusal(namespace, "with-claim", uncovered);
  await apply(claimingPod(namespace, "with-template", { resourceClaimTemplateName: "own" }), TENANT);
  await waitForRefusal(namespace, "with-template", uncovered);
});

scenario("a pod cannot use the claim of another pod", async (namespace) => {
  await admitTenant(namespace);
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 30, command: KEEP_RUNNING }), TENANT);
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const [held] = await claims(namespace);
  await apply(claimingPod(namespace, "thief", { resourceClaimName: held?.metadata.name }), TENANT);
  await waitForRefusal(namespace, "thief", "it belongs to pod holder: pod thief cannot use it");
});

scenario("the controller creates no claim that the units of the pod do not cover", async (namespace) => {
  await admitTenant(namespace);
  const wanted = [{ name: "bitfusion-x", containers: ["main"], share: "1x100", units: 100, client: "simulated" }];
  const annotations = { "bitfusion.io/claims": JSON.stringify(wanted) };
  await apply(claimingPod(namespace, "greedy", { resourceClaimName: "bitfusion-x" }, annotations), TENANT);
  await waitForRefusal(namespace, "greedy", "need 100 units, but it requests 0 units of bitfusion.io/gpu");
  expect(await claims(namespace)).toEqual([]);
});

scenario("a pod that is made again from its own JSON has a claim of its own", async (namespace) => {
  await apply(sharePod({ namespace, name: "first", num: 1, percent: 30, command: KEEP_RUNNING }));
  await kubectl("wait", "-n", namespace, "pod/first", "--for=condition=Ready", "--timeout=120s");
  const { metadata, spec } = await get<{ metadata: { annotations: object }; spec: object }>(
    "pod",
    "first",
    "-n",
    namespace,
  );
  const copy = { ...spec, nodeName: undefined };
  const { annotations } = metadata;
  await apply({ apiVersion: "v1", kind: "Pod", metadata: { name: "copy", namespace, annotations }, spec: copy });
  await kubectl("wait", "-n", namespace, "pod/copy", "--for=condition=Ready", "--timeout=120s");
  const owners = (await claims(namespace)).map(({ metadata: { ownerReferences } }) => ownerReferences?.[0]?.name);
  expect(owners.sort()).toEqual(["copy", "first"]);
});

scenario(
  "init and app containers share a claim, and a pod that would hold more than it requests is refused",
  async (namespace) => {
    const run = (name: string, percent: number) => ({ name, command: ["true"], resources: share(1, percent) });
    const podOf = (percent: number) =>
      pod({
        namespace,
        name: `init-${percent}`,
        mode: "yes",
        initContainers: [run("prepare", percent)],
        containers: [run("main", 30)],
      });
    await apply(podOf(30));
    await waitFor("the claim", async () => (await claims(namespace)).length === 1);
    await kubectl("wait", "-n", namespace, "pod/init-30", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s");
    expect(await rejectionMessage(podOf(40))).toContain("hold 70 units of bitfusion.io/gpu for its whole life");
  },
);

scenario("only the controller and the garbage collector write the slices of the pool", async () => {
  const slice = (driver: string) => ({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: `bypass-${driver}` },
    spec: { driver, pool: { name: "p", generation: 1, resourceSliceCount: 1 }, allNodes: true },
  });
  const binding = ["clusterrolebinding", "slice-writer"];
  await kubectl(
    "create",
    "clusterrole",
    "slice-writer",
    "--verb=create,get,delete,patch",
    "--resource=resourceslices.resource.k8s.io",
  );
  await kubectl("create", ...binding, "--clusterrole=slice-writer", "--user=other-driver");
  try {
    const other = "--as=other-driver";
    expect(await rejectionMessage(slice("bitfusion.io"), other)).toContain("written by bitfusion-controller only");
    await apply(slice("gpu.example"), other);
    await kubectl("delete", "resourceslice", "bypass-gpu.example", other);
    const remove = (user: string) => kubectl("delete", "resourceslice", "bitfusion-0", "--dry-run=server", user);
    expect(await remove(other).catch(String)).toContain("written by bitfusion-controller only");
    await remove("--as=system:serviceaccount:kube-system:generic-garbage-collector"); // with the namespace
  } finally {
    await kubectl("delete", ...binding);
    await kubectl("delete", "clusterrole", "slice-writer");
  }
});
