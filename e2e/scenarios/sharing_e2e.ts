import { expect } from "bun:test";
import { leasesOf, poolEvents, summarizeLeases } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { setEnvironment } from "../steps/installation.ts";
import { apply, get, kubectl, rejectionMessage, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { type PodManifest, pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** Filters for the pool server with two GPUs and for the one with one GPU. */
const [SERVER_A, SERVER_B] = ["server.hostname=bitfusion-pool-a", "server.hostname=bitfusion-pool-b"];
const KEEP_RUNNING = ["sleep", "600"];

interface Claim {
  metadata: { ownerReferences: { name: string }[] };
  status?: { allocation?: { devices: { results: { pool: string; device: string }[] } } };
}

/** Creates pods that request these shares of server A and keep running. */
async function startPods(
  namespace: string,
  shares: Readonly<Record<string, [num: number, percent: number]>>,
): Promise<void> {
  for (const [name, [num, percent]] of Object.entries(shares)) {
    await apply(sharePod({ namespace, name, num, percent, filter: SERVER_A, command: KEEP_RUNNING }));
  }
}

async function waitForReady(namespace: string, ...names: string[]): Promise<void> {
  await kubectl(
    "wait",
    "-n",
    namespace,
    ...names.map((name) => `pod/${name}`),
    "--for=condition=Ready",
    "--timeout=120s",
  );
}

/** Waits until pods run, and the pool's servers have logged their leases. */
async function waitForLease(namespace: string, ...names: string[]): Promise<void> {
  await waitForReady(namespace, ...names);
  for (const name of names) {
    await waitFor(`a lease of ${name}`, async () => (await leasesOf(namespace, name)).length > 0);
  }
}

/** Waits until the controller and the scheduler have recorded Events that the pod waits for the pool. */
async function waitForWaitingEvents(namespace: string, name: string, message: string): Promise<void> {
  await waitFor(`the Event of ${name}`, async () => {
    const description = await kubectl("describe", "pod", name, "-n", namespace);
    return description.includes(`Waiting for the pool: ${message}`) && description.includes("FailedScheduling");
  });
  const { status } = await get<{ status: { phase: string } }>("pod", name, "-n", namespace);
  expect(status.phase).toBe("Pending");
}

/** An injected pod as it would be for a client that talks to one server. */
function withOneServer({ apiVersion, kind, metadata, spec }: PodManifest): PodManifest {
  const { name, namespace = "", annotations = {} } = metadata;
  const claims = JSON.parse(annotations["bitfusion.io/claims"] ?? "[]") as object[];
  const changed = JSON.stringify(claims.map((claim) => ({ ...claim, oneServer: true })));
  return {
    apiVersion,
    kind,
    metadata: { name, namespace, annotations: { ...annotations, "bitfusion.io/claims": changed } },
    spec,
  };
}

async function claimOf(namespace: string, name: string): Promise<Claim | undefined> {
  const { items } = await get<{ items: Claim[] }>("resourceclaims", "-n", namespace);
  return items.find(({ metadata }) => metadata.ownerReferences.some((owner) => owner.name === name));
}

scenario("pods of 60, 60, 40 and 40 percent run at the same time on two GPUs", async (namespace) => {
  await startPods(namespace, { a: [1, 60], b: [1, 60] });
  await waitForLease(namespace, "a", "b"); // 40 + 40 on one GPU would leave only one GPU for 60 + 60
  await startPods(namespace, { c: [1, 40], d: [1, 40] });
  await waitForLease(namespace, "c", "d");
  expect(summarizeLeases(await poolEvents(namespace))).toEqual({ granted: 4, refused: 0, maxLeases: 4, maxUnits: 100 });
});

scenario("with pods of 60, 60 and 60 percent on two GPUs, the third waits and an Event says why", async (namespace) => {
  await startPods(namespace, { a: [1, 60], b: [1, 60] });
  await waitForLease(namespace, "a", "b"); // pods are not scheduled in the order of their creation
  await startPods(namespace, { c: [1, 60] });
  await waitForWaitingEvents(namespace, "c", `needs 60 % of one GPU that matches ${SERVER_A}; the freest has 40 %`);
  await kubectl("delete", "pod", "a", "-n", namespace);
  await waitForLease(namespace, "c");
  expect(summarizeLeases(await poolEvents(namespace))).toMatchObject({ granted: 3, maxLeases: 2 });
});

scenario(
  "beside a pod of 2 × 75 percent on two GPUs, a pod of 2 × 25 runs and a pod of 1 × 50 waits",
  async (namespace) => {
    await startPods(namespace, { large: [2, 75] });
    await waitForLease(namespace, "large");
    await startPods(namespace, { waits: [1, 50], small: [2, 25] });
    await waitForLease(namespace, "small");
    await waitForWaitingEvents(namespace, "waits", `needs 50 % of one GPU that matches ${SERVER_A}; the freest has`);
    const leases = await poolEvents(namespace);
    expect(leases.map(({ gpus }) => gpus.map(({ units }) => units))).toEqual([
      [75, 75],
      [25, 25],
    ]);
  },
);

scenario("memory shares are exact: two that fill a GPU run and a third waits", async (namespace) => {
  const memory = (name: string, amount: string) => {
    const resources = { limits: { "bitfusion.io/gpu-num": 1, "bitfusion.io/gpu-memory": amount } };
    return pod({
      namespace,
      name,
      mode: "yes",
      filter: SERVER_B,
      containers: [{ name: "main", command: KEEP_RUNNING, resources }],
    });
  };
  await apply(memory("a", "9600M"));
  await apply(memory("b", "6400M"));
  await waitForLease(namespace, "a", "b");
  await apply(memory("c", "160M"));
  await waitForWaitingEvents(namespace, "c", `needs 160 MB of one GPU that matches ${SERVER_B}; the freest has 0 %`);
  expect(summarizeLeases(await poolEvents(namespace))).toEqual({ granted: 2, refused: 0, maxLeases: 2, maxUnits: 100 });
});

scenario("the scheduler chooses a GPU of the server that the filter selects", async (namespace) => {
  for (const [name, filter] of Object.entries({
    a: SERVER_A,
    b: `${SERVER_B} server.cuda-version=12.4 device.phy-memory=16000`,
  })) {
    await apply(sharePod({ namespace, name, num: 1, percent: 10, filter }));
    await waitForSuccess(namespace, name);
    const [lease] = await leasesOf(namespace, name);
    expect(lease?.gpus[0]?.gpuId).toStartWith(`bitfusion-pool-${name}:`);
  }
});

scenario("GPUs of one server are given only together, and an Event says what the server lacks", async (namespace) => {
  await startPods(namespace, { holder: [1, 60] });
  await waitForLease(namespace, "holder");
  const manifest = sharePod({ namespace, name: "both", num: 2, percent: 50, command: KEEP_RUNNING });
  await apply(withOneServer(JSON.parse(await apply(manifest, "--dry-run=server", "-o", "json"))));
  const needed = "50 % of each of 2 different GPUs of one server"; // server B has room for one of them
  const room = "only 1 has that now: the freest of one server have 100 % and 40 %";
  await waitForWaitingEvents(namespace, "both", `needs ${needed}; ${room}`);
  await kubectl("delete", "pod", "holder", "-n", namespace);
  await waitForLease(namespace, "both");
  const leases = await leasesOf(namespace, "both");
  expect(leases.map(({ gpus }) => gpus.length)).toEqual([2]);
});

scenario("a share that no GPU can satisfy is rejected at admission with the GPUs of the pool", async (namespace) => {
  const manifest = sharePod({ namespace, name: "a100", num: 1, percent: 50, filter: "device.name=A100" });
  expect(await rejectionMessage(manifest)).toContain(
    "requests 50 % of one GPU that matches device.name=A100, but the whole pool has 0 that can give it (3 × Simulated GPU of 16000 MB)",
  );
});

scenario("when a pool server is killed, running pods keep their claims and new pods wait", async (namespace) => {
  const holder = pod({
    namespace,
    name: "holder",
    mode: "yes",
    filter: SERVER_B,
    containers: [{ name: "main", command: KEEP_RUNNING, resources: share(1, 30) }],
  });
  await apply(holder);
  await waitForReady(namespace, "holder");
  const before = await claimOf(namespace, "holder");
  await exec(["docker", "kill", "bitfusion-pool-b"]);
  try {
    await waitFor("the taint", async () =>
      (await kubectl("get", "resourceslices", "-o", "yaml")).includes("NoSchedule"),
    );
    await apply(sharePod({ namespace, name: "new", num: 1, percent: 30, filter: SERVER_B }));
    await waitForWaitingEvents(
      namespace,
      "new",
      `needs 30 % of one GPU that matches ${SERVER_B}; none of the pool takes new pods now`,
    );
    expect((await claimOf(namespace, "holder"))?.status?.allocation).toEqual(before?.status?.allocation as never);
    await waitForReady(namespace, "holder");
  } finally {
    await exec(["docker", "start", "bitfusion-pool-b"]);
  }
  await waitForSuccess(namespace, "new");
  expect(await leasesOf(namespace, "holder")).toHaveLength(1); // the server knew it
  await waitForReady(namespace, "holder");
  expect(await kubectl("get", "resourceslices", "-o", "yaml")).not.toContain("taints");
});

scenario("pods on a GPU that stays unreachable are evicted after EVICT_AFTER seconds", async (namespace) => {
  const evictAfter = (setting: string) => setEnvironment("bitfusion-controller", setting);
  await evictAfter("EVICT_AFTER=1");
  try {
    const containers = [{ name: "main", command: KEEP_RUNNING, resources: share(1, 30) }];
    await apply(pod({ namespace, name: "holder", mode: "injection", filter: SERVER_B, containers }));
    await waitForReady(namespace, "holder");
    await exec(["docker", "kill", "bitfusion-pool-b"]);
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=delete", "--timeout=60s");
  } finally {
    await exec(["docker", "start", "bitfusion-pool-b"]);
    await evictAfter("EVICT_AFTER-");
  }
});

scenario("service accounts have only the permissions that the programs need", async () => {
  const can = (account: string, ...what: string[]) =>
    exec(["kubectl", "auth", "can-i", `--as=system:serviceaccount:bitfusion-${account}`, ...what]).then(
      (output) => output.trim(),
      () => "no",
    );
  expect(await can("node:bitfusion-device-plugin", "get", "resourceclaims", "-A")).toBe("yes");
  expect(await can("node:bitfusion-device-plugin", "list", "resourceclaims", "-A")).toBe("no");
  expect(await can("node:bitfusion-device-plugin", "get", "pods", "-A")).toBe("yes");
  expect(await can("node:bitfusion-device-plugin", "list", "pods", "-A")).toBe("no");
  expect(await can("system:bitfusion-controller", "update", "resourceclaims", "-A")).toBe("no");
  expect(await can("system:bitfusion-webhook", "create", "resourceclaimtemplates", "-n", "default")).toBe("no");
  const slice = {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: "another" },
    spec: { driver: "gpu.example", pool: { name: "p", generation: 1, resourceSliceCount: 1 }, allNodes: true },
  };
  // Not by kubectl apply, which reads first: the controller may not.
  const create = ["kubectl", "create", "-f", "-", "--as=system:serviceaccount:bitfusion-system:bitfusion-controller"];
  const output = await exec(create, { stdin: JSON.stringify(slice) }).catch(String);
  expect(output).toContain("The controller may write ResourceSlices of the driver bitfusion.io only");
});
