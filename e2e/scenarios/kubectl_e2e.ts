import { afterAll, beforeAll, expect } from "bun:test";
import { apply, kubectl, waitFor } from "../steps/kubectl.ts";
import { compileForKubectl, createUser, type KubectlPlugin } from "../steps/kubectl_plugin.ts";
import { type SharePodOptions, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** The pool server with one GPU. */
const SERVER_B = "bitfusion-pool-b:56001";
const FILTER = "server.hostname=bitfusion-pool-b";
const KEEP_RUNNING = ["sleep", "600"];

const ROLES = "examples/kubectl_roles.yaml";

let plugin: KubectlPlugin;

beforeAll(async () => {
  plugin = await compileForKubectl();
  await kubectl("apply", "-f", ROLES);
}, 60_000);

afterAll(async () => {
  await kubectl("delete", "-f", ROLES);
});

/** Runs a command that must succeed. Returns what it printed as JSON. */
async function json<T>(args: readonly string[], kubeconfig?: string): Promise<T> {
  const options = kubeconfig === undefined ? {} : { kubeconfig };
  const { status, stdout, stderr } = await plugin.run([...args, "-o", "json"], options);
  if (status !== 0) throw new Error(`kubectl bitfusion ${args.join(" ")}: exit status ${status}\n${stdout}${stderr}`);
  return JSON.parse(stdout);
}

interface Pods {
  holders: { pod: string; units: number; gpu: string; server: string; node: string; since: string; state: string }[];
  queue: { pod: string; reasons: string[] }[];
}

interface Pool {
  totals: { gpus: number };
  servers: { address: string; gpus: { id: string; heldUnits: number; freeUnits: number; state: string }[] }[];
}

/** The only GPU of server B, as the pool is shown. */
async function gpuOfServerB(kubeconfig?: string) {
  const { servers } = await json<Pool>(["pool"], kubeconfig);
  const [gpu] = servers.find(({ address }) => address === SERVER_B)?.gpus ?? [];
  if (!gpu) throw new Error("The pool has no GPU of server B");
  return gpu;
}

/** Waits until the pods of the test before have given the GPU back. */
async function waitForFreeGpu(): Promise<void> {
  await waitFor("server B to be free", async () => (await gpuOfServerB()).heldUnits === 0);
}

/** A Job whose pod holds a share of server B. */
function job({ name, ...share }: Omit<SharePodOptions, "num">) {
  const { metadata, spec } = sharePod({ name, num: 1, filter: FILTER, command: KEEP_RUNNING, ...share });
  const template = { metadata: { annotations: metadata.annotations }, spec };
  return { apiVersion: "batch/v1", kind: "Job", metadata: { name, namespace: share.namespace }, spec: { template } };
}

/** Waits until a pod of a Job holds its share. Returns its name. */
async function waitForHolder(namespace: string, name: string): Promise<string> {
  let holder: string | undefined;
  await waitFor(`a pod of ${name} that holds its share`, async () => {
    const { holders } = await json<Pods>(["pods", "-n", namespace]);
    holder = holders.find(({ pod, state }) => pod.startsWith(`${name}-`) && state !== "ending")?.pod;
    return holder !== undefined;
  });
  await kubectl("wait", "-n", namespace, `pod/${holder}`, "--for=condition=Ready", "--timeout=120s");
  return holder ?? "";
}

interface Explanation {
  about: string;
  steps: { name: string; state: string; text: string; advice?: string }[];
}

const stuckIn = ({ steps }: Explanation) => steps.find(({ state }) => state !== "ok" && state !== "later");

scenario("kubectl bitfusion shows who has the GPUs, who waits and why, and what a pod lacks", async (namespace) => {
  const inNamespace = ["-n", namespace];
  await waitForFreeGpu();
  await apply(job({ namespace, name: "train", percent: 60 }));
  const holder = await waitForHolder(namespace, "train");
  await apply(sharePod({ namespace, name: "big", num: 1, percent: 100, filter: FILTER }));

  const table = await plugin.run(["pool"]);
  expect(table.stdout).toMatch(/bitfusion-pool-b:56001 .* 60\/100 +40\n/);
  expect(table.stdout).toStartWith("3 GPUs on 2 servers: ");
  expect((await json<Pool>(["pool"])).totals.gpus).toBe(3);
  const gpu = await gpuOfServerB();
  expect([gpu.heldUnits, gpu.freeUnits, gpu.state]).toEqual([60, 40, "ok"]);
  await waitFor("the driver to tell about the lease", async () => {
    const { holders } = await json<Pods>(["pods", ...inNamespace]);
    return holders.every(({ state }) => state === "ready");
  });
  const { holders, queue } = await json<Pods>(["pods", ...inNamespace]);
  expect(holders.map(({ pod, units, gpu: id, server }) => [pod, units, id, server])).toEqual([
    [holder, 60, gpu.id, SERVER_B],
  ]);
  expect(holders[0]?.node).toStartWith("bitfusion-e2e-worker");
  expect(queue.map(({ pod, reasons }) => [pod, reasons[0]])).toEqual([
    ["big", `needs 100 % of one GPU that matches ${FILTER}; the freest has 40 %`],
  ]);
  expect((await plugin.run(["pods", "-A", "-o", "wide"])).stdout).toContain(namespace);

  const runs = await json<Explanation>(["explain", "job/train", ...inNamespace]);
  expect([runs.about, stuckIn(runs)]).toEqual([`pod/${holder}`, undefined]);
  const waits = await json<Explanation>(["explain", "big", ...inNamespace]);
  expect(stuckIn(waits)).toMatchObject({ name: "allocation", state: "waiting" });
  expect(stuckIn(waits)?.text).toStartWith(queue[0]?.reasons[0] ?? "");
  const policy = { spec: { podSelector: {}, policyTypes: ["Egress"] } };
  const metadata = { name: "deny", namespace };
  await apply({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, ...policy });
  const closed = await json<Explanation>(["explain", holder, ...inNamespace]);
  expect(stuckIn(closed)).toMatchObject({ name: "gate", state: "failed" });
  expect(stuckIn(closed)?.text).toStartWith("Closed by the NetworkPolicy deny");
  await kubectl("delete", "networkpolicy", "deny", ...inNamespace);

  await apply(job({ namespace, name: "bad", percent: 101 }));
  await waitFor("the refusal of a pod", async () => {
    const { status, stdout } = await plugin.run(["explain", "job/bad", ...inNamespace]);
    return status === 0 && stdout.includes("expected a whole number from 1 to 100");
  });
});

scenario("kubectl bitfusion fits tells what becomes of a manifest, and creates nothing", async (namespace) => {
  await waitForFreeGpu();
  const fits = async (percent: number) => {
    const stdin = JSON.stringify(job({ namespace, name: "train", percent }));
    return plugin.run(["fits", "-f", "-"], { stdin });
  };
  expect(await fits(100)).toMatchObject({ status: 0, stderr: "" });
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 60, filter: FILTER, command: KEEP_RUNNING }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const waits = await fits(50);
  expect(waits.status).toBe(2);
  expect(waits.stdout).toContain(
    `0 of 1 pods find room now: a pod needs 50 % of one GPU that matches ${FILTER}; the freest has 40 %`,
  );
  const refused = await fits(101);
  expect(refused.status).toBe(3);
  expect(refused.stdout).toContain("expected a whole number from 1 to 100");
  expect(await kubectl("get", "jobs", "-n", namespace, "-o", "name")).toBe("");
});

scenario("kubectl bitfusion works with the rights of its user, and names those that are missing", async (namespace) => {
  await waitForFreeGpu();
  const kubeconfig = await createUser(namespace, "tenant");
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 60, filter: FILTER, command: KEEP_RUNNING }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const pods = await plugin.run(["pods"], { kubeconfig });
  expect([pods.status, pods.stdout]).toEqual([0, expect.stringMatching(/^Pods that hold GPUs\n.*\nholder +main +60 /)]);
  expect(pods.stderr).toStartWith("Warning: You lack the right to list resourceslices.resource.k8s.io, ");
  expect(pods.stderr).toContain("Ask an administrator for the ClusterRole bitfusion-pool-viewer");
  expect(pods.stderr).toContain(`Only the namespace ${namespace} counts.`);
  const explained = await json<Explanation>(["explain", "holder"], kubeconfig);
  expect(explained.steps.filter(({ state }) => state === "failed" || state === "waiting")).toEqual([]);
  const cordoned = await plugin.run(["cordon", SERVER_B], { kubeconfig });
  expect(cordoned.status).toBe(1);
  expect(cordoned.stderr).toContain("Ask an administrator for the ClusterRole bitfusion-pool-operator");

  const viewer = await createUser(namespace, "viewer", ["bitfusion-pool-viewer"]);
  const pool = await plugin.run(["pool"], { kubeconfig: viewer });
  expect(pool).toMatchObject({ status: 0, stderr: "" });
  const stdin = JSON.stringify(job({ namespace, name: "train", percent: 40 }));
  expect(await plugin.run(["fits", "-f", "-"], { kubeconfig: viewer, stdin })).toMatchObject({ status: 0, stderr: "" });
  const operator = await createUser(namespace, "operator", ["bitfusion-pool-operator"]);
  const dry = await plugin.run(["cordon", "--dry-run", SERVER_B], { kubeconfig: operator });
  expect(dry).toMatchObject({ status: 0, stderr: "" });
  expect((await gpuOfServerB(viewer)).state).toBe("ok");
});

scenario("kubectl bitfusion cordons a server, drains it, and gives it back", async (namespace) => {
  await waitForFreeGpu();
  const kubeconfig = await createUser(namespace, "operator", ["bitfusion-pool-operator"]);
  const run = async (...args: string[]) => {
    const result = await plugin.run(args, { kubeconfig });
    expect(result, args.join(" ")).toMatchObject({ status: 0 });
    return result.stdout;
  };
  await apply(job({ namespace, name: "train", percent: 60 }));
  const first = await waitForHolder(namespace, "train");
  const { id } = await gpuOfServerB();
  try {
    expect(await run("cordon", "bitfusion-pool-b")).toBe(`gpu/${id} on ${SERVER_B} cordoned\n`);
    expect((await plugin.run(["pool"])).stdout).toMatch(/ 0 +cordoned\n/);
    await apply(sharePod({ namespace, name: "waits", num: 1, percent: 5, filter: FILTER, command: KEEP_RUNNING }));
    await waitFor("the scheduler to pass over the pod", async () => {
      const { steps } = await json<Explanation>(["explain", "waits", "-n", namespace]);
      return steps.some(({ name, state }) => name === "allocation" && state === "waiting");
    });
    await kubectl("wait", "-n", namespace, "pod/waits", "--for=condition=PodScheduled=false", "--timeout=60s");

    const drained = await run("drain", "--timeout", "2m", `gpu/${id}`);
    expect(drained).toContain(first);
    expect(drained).toContain(`gpu/${id} on ${SERVER_B} drained\n`);
    expect(drained).toEndWith(`${namespace}/${first} has released its GPUs\n`);
    const gpu = await gpuOfServerB();
    expect([gpu.heldUnits, gpu.freeUnits]).toEqual([0, 0]);
  } finally {
    await run("uncordon", SERVER_B);
  }
  expect(await waitForHolder(namespace, "train")).not.toBe(first);
  await kubectl("wait", "-n", namespace, "pod/waits", "--for=condition=Ready", "--timeout=120s");
});

scenario("kubectl completes the plugin, and --watch shows changes as they come", async (namespace) => {
  const completed = (await plugin.exec(["kubectl", "__complete", "bitfusion", "cordon", "bitfusion-pool-b"])).split(
    "\n",
  );
  expect(completed.slice(0, 2)).toContain(SERVER_B);
  const script = `source <(kubectl-bitfusion completion bash)
COMP_WORDS=(kubectl-bitfusion pool --wa); COMP_CWORD=2; _kubectl_bitfusion; echo "\${COMPREPLY[@]}"`;
  expect(await plugin.exec(["bash", "-c", script])).toBe("--watch\n");

  const watching = plugin.start(["pods", "-n", namespace, "--watch", "-o", "json"]);
  const seen = Promise.withResolvers<void>();
  // Read to the end: without a reader, the plugin ends by itself.
  const reading = (async () => {
    let text = "";
    for await (const chunk of watching.stdout) {
      text += new TextDecoder().decode(chunk);
      if (text.includes('"pod":"late"')) seen.resolve();
    }
    seen.reject(new Error(`The watch ended: ${text}`));
  })();
  try {
    await apply(sharePod({ namespace, name: "late", num: 1, percent: 5, filter: FILTER, command: KEEP_RUNNING }));
    await seen.promise;
  } finally {
    watching.kill("SIGINT");
  }
  await reading;
  expect(await watching.exited).toBe(130);
});
