import { expect, test } from "bun:test";
import type { DeviceTaintRule } from "../../../kubernetes/objects/device_taint_rule.ts";
import { claim, device, pod, slice } from "../../view/testing.ts";
import { forbidden, startCluster, type TestCluster } from "../testing.ts";

const RULES = "/apis/resource.k8s.io/v1/devicetaintrules";
const CLAIMS = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";

const owned = (name: string) => {
  const made = pod(name, { node: "node-1", phase: "Running" });
  const ownerReferences = [{ apiVersion: "batch/v1", kind: "Job", name, uid: "job", controller: true }];
  return { ...made, metadata: { ...made.metadata, ownerReferences } };
};

const CLUSTER = {
  slices: [slice("bitfusion-0", [device("gpu-1", "a:1"), device("gpu-2", "a:1"), device("gpu-3", "b:1")])],
  claims: [
    claim("train", { held: [["bitfusion-0/gpu-1", 50]], ready: "True" }),
    claim("bare", { held: [["bitfusion-0/gpu-3", 50]], ready: "True" }),
  ],
  pods: [owned("train"), pod("bare", { node: "node-1", phase: "Running" })],
};

/** Effects of the rules, by their names. */
function effectsIn({ api }: TestCluster): Record<string, string> {
  return Object.fromEntries(
    api.store.list<DeviceTaintRule>(RULES).map(({ metadata, spec }) => [metadata.name, spec.taint.effect]),
  );
}

test("cordon taints each GPU of a server once, and uncordon takes the taints away", async () => {
  await using cluster = startCluster(CLUSTER);
  const { stdout } = await cluster.run("cordon server/a:1");
  expect(stdout).toBe("gpu/a:1/gpu-1 on a:1 cordoned\ngpu/a:1/gpu-2 on a:1 cordoned\n");
  const rule = cluster.api.store.get<DeviceTaintRule>(`${RULES}/bitfusion-cordon-gpu-1`);
  expect(rule).toMatchObject({
    metadata: {
      labels: { "app.kubernetes.io/managed-by": "kubectl-bitfusion" },
      annotations: { "bitfusion.io/gpu-id": "a:1/gpu-1", "bitfusion.io/server": "a:1" },
    },
    spec: {
      deviceSelector: { driver: "bitfusion.io", device: "gpu-1" },
      taint: { key: "bitfusion.io/cordoned", effect: "NoSchedule" },
    },
  });
  expect((await cluster.run("pool")).stdout).toMatch(/gpu-2 +Tesla T4 .* 0 +cordoned\n/);
  expect((await cluster.run("cordon gpu-1")).stdout).toBe("gpu/a:1/gpu-1 on a:1 is cordoned already\n");
  expect((await cluster.run("uncordon a:1 gpu-3")).stdout).toBe(
    "gpu/a:1/gpu-1 on a:1 uncordoned\ngpu/a:1/gpu-2 on a:1 uncordoned\ngpu/b:1/gpu-3 on b:1 is not cordoned\n",
  );
  expect(effectsIn(cluster)).toEqual({});
});

test("cordon --dry-run changes nothing, and -o name prints the names of the rules", async () => {
  await using cluster = startCluster(CLUSTER);
  expect((await cluster.run("cordon --dry-run gpu-1")).stdout).toBe("gpu/a:1/gpu-1 on a:1 cordoned (dry run)\n");
  expect(effectsIn(cluster)).toEqual({});
  expect((await cluster.run("cordon -o name gpu-1")).stdout).toBe(
    "devicetaintrule.resource.k8s.io/bitfusion-cordon-gpu-1\n",
  );
});

test("cordon leaves a rule of somebody else alone", async () => {
  await using cluster = startCluster(CLUSTER);
  const rule = { spec: { deviceSelector: {}, taint: { key: "x", effect: "None" } } };
  cluster.api.store.put(`${RULES}/bitfusion-cordon-gpu-1`, rule);
  for (const command of ["cordon", "uncordon"]) {
    const { status, stderr } = await cluster.run(`${command} gpu-1`);
    expect(status).toBe(1);
    expect(stderr).toContain("lacks the label app.kubernetes.io/managed-by=kubectl-bitfusion");
  }
  expect(effectsIn(cluster)).toEqual({ "bitfusion-cordon-gpu-1": "None" });
});

test("cordon uses the beta of Kubernetes 1.36, and says what earlier versions lack", async () => {
  const missing = (path: string) => (request: Request) =>
    new URL(request.url).pathname.startsWith(path) ? Response.json({}, { status: 404 }) : undefined;
  await using older = startCluster(CLUSTER, missing(RULES));
  await older.run("cordon gpu-1");
  const path = "/apis/resource.k8s.io/v1beta2/devicetaintrules/bitfusion-cordon-gpu-1";
  expect(older.api.store.get<object>(path)).toMatchObject({ apiVersion: "resource.k8s.io/v1beta2" });
  const none = (request: Request) =>
    request.url.includes("/devicetaintrules") ? Response.json({}, { status: 404 }) : undefined;
  await using oldest = startCluster(CLUSTER, none);
  expect((await oldest.run("cordon gpu-1")).stderr).toContain("they need Kubernetes 1.37");
});

test("cordon names the right that is missing", async () => {
  const readOnly = (request: Request) => (request.method === "POST" ? forbidden("User jane cannot create") : undefined);
  await using cluster = startCluster(CLUSTER, readOnly);
  expect((await cluster.run("cordon gpu-1")).stderr).toBe(
    "error: Cannot create devicetaintrules.resource.k8s.io bitfusion-cordon-gpu-1: you lack the right (User jane cannot create). Ask an administrator for the ClusterRole bitfusion-pool-operator: docs/kubectl.md#rights\n",
  );
});

test("drain shows who is affected, evicts, and waits until the GPUs are released", async () => {
  await using cluster = startCluster(CLUSTER);
  await cluster.run("cordon gpu-1");
  const drained = cluster.run("drain gpu-1", {
    onOutput(text) {
      if (text.includes("drained")) cluster.api.store.remove(`${CLAIMS}/train`);
    },
  });
  expect(await drained).toEqual({
    status: 0,
    stdout: `NAMESPACE   POD     UNITS   GPU         SERVER   NODE
team        train   50      a:1/gpu-1   a:1      node-1

gpu/a:1/gpu-1 on a:1 drained
team/train has released its GPUs
`,
    stderr: "",
  });
  expect(effectsIn(cluster)).toEqual({ "bitfusion-cordon-gpu-1": "NoExecute" });
  expect((await cluster.run("pool")).stdout).toMatch(/gpu-1 +Tesla T4 .* drained\n/);
  expect((await cluster.run("cordon gpu-1")).stdout).toContain("is drained already");
});

test("drain refuses to evict pods that nothing creates again, without --force", async () => {
  await using cluster = startCluster(CLUSTER);
  const { status, stderr } = await cluster.run("drain b:1");
  expect([status, effectsIn(cluster)]).toEqual([1, {}]);
  expect(stderr).toBe("error: Nothing creates these again when they are evicted: team/bare. Evict them with --force\n");
  expect((await cluster.run("drain --force --timeout 0 b:1")).status).toBe(0);
  expect(effectsIn(cluster)).toEqual({ "bitfusion-cordon-gpu-3": "NoExecute" });
});

test("drain --dry-run evicts nobody, and a drain that takes too long says who is left", async () => {
  await using cluster = startCluster(CLUSTER);
  expect((await cluster.run("drain --dry-run gpu-1")).stdout).toEndWith("gpu/a:1/gpu-1 on a:1 drained (dry run)\n");
  expect(effectsIn(cluster)).toEqual({});
  const { status, stderr } = await cluster.run("drain --timeout 50ms gpu-1");
  expect(status).toBe(1);
  expect(stderr).toStartWith("error: Still held after 0s, by team/train. The GPUs stay drained");
});

test("drain does not start where it cannot tell whom it would evict", async () => {
  await using cluster = startCluster(CLUSTER, ({ url }) =>
    url.includes("/resourceclaims") ? forbidden("no") : undefined,
  );
  expect((await cluster.run("drain gpu-1")).stderr).toStartWith(
    "error: Cannot tell whom a drain would evict. Cannot list",
  );
  expect((await cluster.run("drain --timeout soon gpu-1")).stderr).toContain(
    "Expected a duration such as 90s, 10m or 1h30m",
  );
});
