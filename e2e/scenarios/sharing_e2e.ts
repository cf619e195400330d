import { expect } from "bun:test";
import { POOL_UNITS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, refusal, until, WORKERS, waitForSuccess } from "../steps/kubectl.ts";
import { killPlugin } from "../steps/node_plugin.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { leasesOf, poolEvents, recordOf } from "../steps/pool_log.ts";
import { scenario } from "../steps/scenario.ts";
import { setEnvironment } from "../steps/set_environment.ts";

/** The server of the pool that has two GPUs, and that which has one. */
const [A, B] = ["server.hostname=bitfusion-pool-a", "server.hostname=bitfusion-pool-b"];
const CONTROLLER = "app.kubernetes.io/name=bitfusion-controller";
const STAY = ["sleep", "600"];

interface Claim {
  metadata: { ownerReferences: { name: string }[] };
  status?: { allocation?: { devices: { results: { pool: string; device: string }[] } } };
}

/** Pods that ask for so much of a GPU each, and stay. */
async function start(
  namespace: string,
  shares: Readonly<Record<string, [num: number, percent: number]>>,
): Promise<void> {
  for (const [name, [num, percent]] of Object.entries(shares)) {
    await apply(sharePod({ namespace, name, num, percent, filter: A, command: STAY }));
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

/** Waits until pods run and hold what they asked for. */
async function waitForLease(namespace: string, ...names: string[]): Promise<void> {
  await waitForReady(namespace, ...names); // before the client in it has claimed
  for (const name of names) {
    await until(`a lease of ${name}`, async () => (await leasesOf(namespace, name)).length > 0);
  }
}

/** Waits until a pod is told, by an Event of ours and by the scheduler, that it waits for the pool. */
async function waitForWaiting(namespace: string, name: string, message: string): Promise<void> {
  await until(`the Event of ${name}`, async () => {
    const description = await kubectl("describe", "pod", name, "-n", namespace);
    return description.includes(`Waiting for the pool: ${message}`) && description.includes("FailedScheduling");
  });
  const { status } = await get<{ status: { phase: string } }>("pod", name, "-n", namespace);
  expect(status.phase).toBe("Pending");
}

async function claimOf(namespace: string, name: string): Promise<Claim | undefined> {
  const { items } = await get<{ items: Claim[] }>("resourceclaims", "-n", namespace);
  return items.find(({ metadata }) => metadata.ownerReferences.some((owner) => owner.name === name));
}

scenario("60 + 60 + 40 + 40 percent on two GPUs run at once", async (namespace) => {
  await start(namespace, { a: [1, 60], b: [1, 60] });
  await waitForLease(namespace, "a", "b"); // 40 + 40 on one GPU would leave 60 + 60 to the other
  await start(namespace, { c: [1, 40], d: [1, 40] });
  await waitForLease(namespace, "c", "d");
  expect(recordOf(await poolEvents(namespace))).toEqual({ granted: 4, refused: 0, mostLeases: 4, mostUnits: 100 });
});

scenario(
  "60 + 60 + 60 percent on two GPUs do not, and the user is told what the third waits for",
  async (namespace) => {
    await start(namespace, { a: [1, 60], b: [1, 60] });
    await waitForLease(namespace, "a", "b"); // pods are not scheduled in the order in which they were made
    await start(namespace, { c: [1, 60] });
    await waitForWaiting(namespace, "c", `needs 60 % of one GPU that matches ${A}; the freest has 40 %`);
    await kubectl("delete", "pod", "a", "-n", namespace);
    await waitForLease(namespace, "c");
    expect(recordOf(await poolEvents(namespace))).toMatchObject({ granted: 3, mostLeases: 2 });
  },
);

scenario("beside 2 × 75 percent on two GPUs 2 × 25 runs, and 1 × 50 waits", async (namespace) => {
  await start(namespace, { large: [2, 75] });
  await waitForLease(namespace, "large");
  await start(namespace, { waits: [1, 50], small: [2, 25] });
  await waitForLease(namespace, "small");
  await waitForWaiting(namespace, "waits", `needs 50 % of one GPU that matches ${A}; the freest has`);
  const leases = await poolEvents(namespace);
  expect(leases.map(({ gpus }) => gpus.map(({ units }) => units))).toEqual([
    [75, 75],
    [25, 25],
  ]);
});

scenario("shares of memory are exact: two that fit together on a GPU, and one that waits", async (namespace) => {
  const memory = (name: string, amount: string) => {
    const resources = { limits: { "bitfusion.io/gpu-num": 1, "bitfusion.io/gpu-memory": amount } };
    return pod({ namespace, name, mode: "yes", filter: B, containers: [{ name: "main", command: STAY, resources }] });
  };
  await apply(memory("a", "9600M"));
  await apply(memory("b", "6400M"));
  await waitForLease(namespace, "a", "b");
  await apply(memory("c", "160M"));
  await waitForWaiting(namespace, "c", `needs 160 MB of one GPU that matches ${B}; the freest has 0 %`);
  expect(recordOf(await poolEvents(namespace))).toEqual({ granted: 2, refused: 0, mostLeases: 2, mostUnits: 100 });
});

scenario("a filter on a server is the scheduler's choice", async (namespace) => {
  for (const [name, filter] of Object.entries({ a: A, b: `${B} server.cuda-version=12.4 device.phy-memory=16000` })) {
    await apply(sharePod({ namespace, name, num: 1, percent: 10, filter }));
    await waitForSuccess(namespace, name);
    const [lease] = await leasesOf(namespace, name);
    expect(lease?.gpus[0]?.gpuId).toStartWith(`bitfusion-pool-${name}:`);
  }
});

scenario("a share that no GPU can ever hold is refused at once, with what the pool has", async (namespace) => {
  const manifest = sharePod({ namespace, name: "a100", num: 1, percent: 50, filter: "device.name=A100" });
  expect(await refusal(manifest)).toContain(
    "requests 50 % of one GPU that match device.name=A100, but the whole pool has 0 that can give it (3 × Simulated GPU of 16000 MB)",
  );
});

scenario("a server killed under a running pod: that keeps its claim, and no new pod goes there", async (namespace) => {
  // In mode injection nothing is claimed of the pool itself, which would be lost with the server.
  const holder = pod({
    namespace,
    name: "holder",
    mode: "injection",
    filter: B,
    containers: [{ name: "main", command: STAY, resources: share(1, 30) }],
  });
  await apply(holder);
  await waitForReady(namespace, "holder");
  const before = await claimOf(namespace, "holder");
  await exec(["docker", "kill", "bitfusion-pool-b"]);
  try {
    await until("the taint", async () => (await kubectl("get", "resourceslices", "-o", "yaml")).includes("NoSchedule"));
    await apply(sharePod({ namespace, name: "new", num: 1, percent: 30, filter: B }));
    await waitForWaiting(
      namespace,
      "new",
      `needs 30 % of one GPU that matches ${B}; none of the pool can be reached now`,
    );
    expect((await claimOf(namespace, "holder"))?.status?.allocation).toEqual(before?.status?.allocation as never);
    await waitForReady(namespace, "holder");
  } finally {
    await exec(["docker", "start", "bitfusion-pool-b"]);
  }
  await waitForSuccess(namespace, "new");
  expect(await kubectl("get", "resourceslices", "-o", "yaml")).not.toContain("taints");
});

scenario("pods on a GPU that stays away are evicted once EVICT_AFTER has passed", async (namespace) => {
  const evictAfter = (setting: string) => setEnvironment("bitfusion-controller", setting);
  await evictAfter("EVICT_AFTER=1");
  try {
    const containers = [{ name: "main", command: STAY, resources: share(1, 30) }];
    await apply(pod({ namespace, name: "holder", mode: "injection", filter: B, containers }));
    await waitForReady(namespace, "holder");
    await exec(["docker", "kill", "bitfusion-pool-b"]);
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=delete", "--timeout=60s");
  } finally {
    await exec(["docker", "start", "bitfusion-pool-b"]);
    await evictAfter("EVICT_AFTER-");
  }
});

scenario(
  "40 pods of 50 percent on two GPUs all complete, never more than four at a time, whoever is killed meanwhile",
  async (namespace) => {
    await startLoad(namespace, { count: 40, command: ["sleep", "1"] });
    const [first, second] = WORKERS;
    for (const kill of [
      () => kubectl("delete", "pods", "-n", "bitfusion-system", "-l", CONTROLLER, "--grace-period=0", "--force"),
      () => killPlugin(first),
      () => exec(["docker", "exec", second, "systemctl", "restart", "kubelet"]),
      () => Promise.all([killPlugin(second), exec(["docker", "exec", first, "systemctl", "restart", "kubelet"])]),
    ]) {
      const done = await completed(namespace);
      await kill();
      await until("more pods to complete", async () => (await completed(namespace)) >= Math.min(done + 4, 40));
    }
    await kubectl("wait", "-n", namespace, "job/load", "--for=condition=Complete", "--timeout=170s");
    const record = recordOf(await poolEvents(namespace));
    console.log("exact:", record);
    expect(record.refused).toBe(0);
    expect(record.mostLeases).toBeLessThanOrEqual(4);
    expect(record.mostUnits).toBeLessThanOrEqual(100);
    expect(record.granted).toBeGreaterThanOrEqual(40);
    await until("the claims' files to be gone", async () => {
      const files = await Promise.all(WORKERS.map((node) => exec(["docker", "exec", node, "ls", "/var/run/cdi"])));
      return files.join("") === "";
    });
  },
);

scenario(
  "the same load with ALLOCATION=units: twelve run where four fit, and eight of them wait inside",
  async (namespace) => {
    const allocation = async (setting: string) => {
      for (const deployment of ["bitfusion-webhook", "bitfusion-controller"]) await setEnvironment(deployment, setting);
    };
    await allocation("ALLOCATION=units");
    try {
      await until("nothing to be published", async () => (await publishedGpus()).length === 0);
      await startLoad(namespace, { count: 40, command: STAY });
      await until("each node to run as many as the whole pool's three GPUs hold", async () => {
        return (await loadOf(namespace)).ready === 12;
      });
      await until("those to be refused that are too many for two GPUs", async () => {
        const events = await poolEvents(namespace);
        const refused = events.filter(({ message }) => message === "Claim refused").map(({ owner }) => owner.pod);
        return recordOf(events).granted >= 4 && new Set(refused).size >= 8; // each a container that holds its node's memory
      });
      const record = recordOf(await poolEvents(namespace));
      console.log("units:", record);
      expect(record).toMatchObject({ granted: 4, mostLeases: 4, mostUnits: 100 }); // the pool has the last word
    } finally {
      await allocation("ALLOCATION-");
    }
    await until("the GPUs to be published again", async () => (await publishedGpus()).length === POOL_UNITS / 100);
  },
);

scenario("the programs may do what they have to, and nothing else", async () => {
  const can = (account: string, ...what: string[]) =>
    exec([
      "kubectl",
      "auth",
      "can-i",
      `--as=system:serviceaccount:bitfusion-system:bitfusion-${account}`,
      ...what,
    ]).then(
      (answer) => answer.trim(),
      () => "no",
    );
  expect(await can("device-plugin", "get", "resourceclaims", "-A")).toBe("yes");
  expect(await can("device-plugin", "list", "resourceclaims", "-A")).toBe("no");
  expect(await can("device-plugin", "get", "pods", "-A")).toBe("no");
  expect(await can("controller", "update", "resourceclaims", "-A")).toBe("no");
  const slice = {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: "another" },
    spec: { driver: "gpu.example", pool: { name: "p", generation: 1, resourceSliceCount: 1 }, allNodes: true },
  };
  const answer = await apply(slice, "--as=system:serviceaccount:bitfusion-system:bitfusion-controller").catch(String);
  expect(answer).toContain("The controller may write ResourceSlices of the driver bitfusion.io only");
});

async function publishedGpus(): Promise<object[]> {
  const { items } = await get<{ items: { spec: { devices?: object[] } }[] }>("resourceslices");
  return items.flatMap(({ spec }) => spec.devices ?? []);
}

/** Pods that are made anew: a kubelet that is restarted while it starts a container gives up its pod, whatever the pod asks for. */
const REPLACED = 4;

/** A Job of so many pods of 50 percent on the server with two GPUs, all at once. */
async function startLoad(namespace: string, { count, command }: { count: number; command: string[] }): Promise<void> {
  const { metadata, spec } = sharePod({ namespace, name: "load", num: 1, percent: 50, filter: A, command });
  const template = { metadata: { annotations: metadata.annotations }, spec };
  await apply({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "load", namespace },
    spec: { completions: count, parallelism: count, backoffLimit: REPLACED, template },
  });
}

async function completed(namespace: string): Promise<number> {
  return (await loadOf(namespace)).succeeded ?? 0;
}

async function loadOf(namespace: string): Promise<{ succeeded?: number; ready?: number }> {
  return (await get<{ status: { succeeded?: number; ready?: number } }>("job", "load", "-n", namespace)).status;
}
