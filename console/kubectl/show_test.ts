import { expect, test } from "bun:test";
import { claim, device, pod, slice, TIME } from "../view/testing.ts";
import { forbidden, startCluster, type TestCluster } from "./testing.ts";

const UNHEALTHY = { key: "bitfusion.io/unhealthy", value: "xid-79", effect: "NoSchedule", timeAdded: TIME } as const;

/** Two servers with three GPUs; `train` holds 60 units, `big` waits for a whole GPU, and the pods of the Job `bad` are refused. */
const CLUSTER = {
  slices: [
    slice("bitfusion-0", [
      device("gpu-1", "a.example:56001"),
      device("gpu-2", "a.example:56001", { taints: [UNHEALTHY] }),
      device("gpu-3", "b.example:56001"),
    ]),
  ],
  claims: [
    claim("train", { units: 60, held: [["bitfusion-0/gpu-1", 60]], ready: "True" }),
    claim("other", { units: 100, held: [["bitfusion-0/gpu-3", 100]] }),
    claim("big", { units: 100 }),
  ],
  pods: [
    pod("train", { share: "1x60", node: "node-1", phase: "Running" }),
    pod("other", { share: "1x100" }),
    pod("big", { share: "1x100" }),
  ],
  events: [
    {
      metadata: { name: "bad.1", namespace: "team" },
      involvedObject: { kind: "Job", namespace: "team", name: "bad" },
      type: "Warning",
      reason: "FailedCreate",
      message: 'admission webhook "inject.bitfusion.io" denied the request: \u001b[2Jno',
      count: 3,
      lastTimestamp: "2026-11-29T12:55:00Z",
    },
  ],
  taintRules: [],
};

test("pool shows servers and GPUs with what is held, free and wrong", async () => {
  await using cluster = startCluster(CLUSTER);
  const { status, stdout, stderr } = await cluster.run("pool");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toBe(`3 GPUs on 2 servers: 160 of 300 units held (53 %), 40 free, 100 blocked

NAME                      MODEL      MEMORY   HELD         UNITS     FREE   STATE
a.example:56001                               ███░░░░░░░   60/200    40
  a.example:56001/gpu-1   Tesla T4   16 GB    ██████░░░░   60/100    40     ok
  a.example:56001/gpu-2   Tesla T4   16 GB    ░░░░░░░░░░   0/100     0      unhealthy (xid-79) for 60m
b.example:56001                               ██████████   100/100   0
  b.example:56001/gpu-3   Tesla T4   16 GB    ██████████   100/100   0      ok
`);
});

test("pool -o wide tells who holds a GPU, -o name how cordon names it, -o json everything", async () => {
  await using cluster = startCluster(CLUSTER);
  expect((await cluster.run("pool -o wide")).stdout).toMatch(/gpu-1 .* ok .* gpu-1 .* team\/train:60\n/);
  expect((await cluster.run("pool -o name")).stdout.split("\n").slice(0, 2)).toEqual([
    "gpu/a.example:56001/gpu-1",
    "gpu/a.example:56001/gpu-2",
  ]);
  const document = JSON.parse((await cluster.run("pool -o json")).stdout);
  expect(document).toMatchObject({ kind: "Pool", totals: { gpus: 3, freeUnits: 40 }, unread: [] });
  expect((await cluster.run("pool -o yaml")).stdout).toContain("kind: Pool\ntotals:\n");
});

test("pods shows who holds GPUs, who waits and why, and whose pods are refused", async () => {
  await using cluster = startCluster(CLUSTER);
  const { stdout } = await cluster.run("pods");
  expect(stdout).toBe(`Pods that hold GPUs
POD     CONTAINERS   UNITS   GPU                     SERVER            NODE     SINCE   STATE
other   main         100     b.example:56001/gpu-3   b.example:56001            60m     starting
train   main         60      a.example:56001/gpu-1   a.example:56001   node-1   60m     ready

Pods that wait
POD   WAITS   FOR                WHY
big   60m     100 % of one GPU   needs 100 % of one GPU; the freest has 40 %

Owners whose pods are refused
OWNER     LAST   TIMES   WHY
job/bad   5m     3       admission webhook "inject.bitfusion.io" denied the request: \\u001b[2Jno
`);
  expect((await cluster.run("pods -o name")).stdout).toBe("pod/other\npod/train\npod/big\n");
  expect((await cluster.run("pods -A")).stdout).toContain("NAMESPACE   POD ");
  expect((await cluster.run("pods -n away")).stdout).toBe(
    "No pod in the namespace away holds GPUs of the pool or waits for some\n",
  );
});

const refuse = (cluster: (path: string) => boolean) => (request: Request) =>
  cluster(new URL(request.url).pathname) ? forbidden('User "jane" cannot list') : undefined;

test("pool shows what may be read, marks what is not known, and names the missing right", async () => {
  await using cluster = startCluster(
    CLUSTER,
    refuse((path) => path === "/apis/resource.k8s.io/v1/resourceclaims"),
  );
  const { status, stdout, stderr } = await cluster.run("pool");
  expect(status).toBe(0);
  expect(stdout).toContain("3 GPUs on 2 servers: at least 160 of 300 units held (53 %), at most 40 free");
  expect(stdout).toContain("≥60/100    ≤40");
  expect(stderr).toStartWith(
    "Warning: Cannot list resourceclaims.resource.k8s.io in all namespaces: you lack the right",
  );
  expect(stderr).toEndWith("docs/kubectl.md#rights. Only the namespace team counts.\n");
  await using slicesHidden = startCluster(
    CLUSTER,
    refuse((path) => path.endsWith("/resourceslices")),
  );
  const hidden = await slicesHidden.run("pods");
  expect(hidden.stdout).toMatch(/\ntrain +main +60 /);
  expect(hidden.stdout).not.toContain("the pool has none"); // which nobody can tell
  expect(hidden.stderr.match(/Warning/g)).toHaveLength(1); // and none that no GPU is published
  expect((await slicesHidden.run("pool")).stdout).toStartWith("The GPUs of the pool are not known");
  const both = (path: string) => path.endsWith("/resourceslices") || path === "/api/v1/pods";
  await using restricted = startCluster(CLUSTER, refuse(both));
  expect((await restricted.run("pods")).stderr).toBe(
    "Warning: You lack the right to list resourceslices.resource.k8s.io and pods in all namespaces. Ask an administrator for the ClusterRole bitfusion-pool-viewer: docs/kubectl.md#rights. GPUs that you do not hold are missing here. Only the namespace team counts.\n",
  );
  await using blind = startCluster(
    CLUSTER,
    refuse((path) => path.endsWith("/resourceclaims")),
  );
  expect((await blind.run("pool")).stdout).toContain("?/100");
});

test("a command that may read nothing fails with the first missing right", async () => {
  await using cluster = startCluster(
    CLUSTER,
    refuse(() => true),
  );
  expect(await cluster.run("pods")).toEqual({
    status: 1,
    stdout: "",
    stderr:
      'error: Cannot list resourceslices.resource.k8s.io: you lack the right (User "jane" cannot list). Ask an administrator for the ClusterRole bitfusion-pool-viewer: docs/kubectl.md#rights\n',
  });
});

/** Runs a command that watches, until its output contains a text; `then` is called after the first output. */
async function watchUntil(cluster: TestCluster, args: string, text: string, then: () => void, isInteractive = false) {
  const stop = new AbortController();
  let seen = "";
  return cluster.run(args, {
    signal: stop.signal,
    isInteractive,
    onOutput(output) {
      if (seen === "") then();
      seen += output;
      if (seen.includes(text)) stop.abort();
    },
  });
}

test("--watch shows each change until it is interrupted: on a terminal in place of the last one", async () => {
  await using cluster = startCluster(CLUSTER);
  const remove = () => cluster.api.store.remove("/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/train");
  const { status, stdout } = await watchUntil(
    cluster,
    "pool --watch -o json",
    '"totalUnits":300,"heldUnits":100',
    remove,
  );
  expect(status).toBe(130);
  expect(
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).totals.heldUnits),
  ).toEqual([160, 100]);
  const back = () =>
    cluster.api.store.put("/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/train", CLUSTER.claims[0] ?? {});
  const terminal = await watchUntil(cluster, "pool --watch", "160 of 300", back, true);
  expect(terminal.stdout.split("\u001b[2J\u001b[3J\u001b[H")).toHaveLength(3);
});
