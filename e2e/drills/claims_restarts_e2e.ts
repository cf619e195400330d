import { afterAll, beforeAll, expect, test } from "bun:test";
import { diagnose } from "../cluster/diagnostics.ts";
import { type PoolEvent, poolEvents } from "../records/pool_log.ts";
import { cudaContainer, cudaPod } from "../steps/cuda.ts";
import { ExecError, exec } from "../steps/exec.ts";
import {
  apply,
  CLUSTER,
  get,
  kubectl,
  NODE_CAPACITY,
  WORKERS,
  waitFor,
  waitForSuccess,
  waitForUnits,
} from "../steps/kubectl.ts";
import { type PodManifest, sharePod, workload } from "../steps/pods.ts";

// Restarts under pods that run, each by another workload. They stay the same pods, with the same GPUs and leases.

const [node, otherNode] = WORKERS;
const CONTROL_PLANE = `${CLUSTER}-control-plane`;
const namespace = `e2e-${crypto.randomUUID().slice(0, 8)}`;
const inNamespace = ["-n", namespace];
/** For pods that start after a restart. */
const inOtherNamespace = { namespace: `${namespace}-after` };

/** Longest time from the start of a restart until all pods run again, in seconds. */
const LIMIT = 180;

/** Time limit of a test or hook, in ms: the restart, a pod that starts afterwards, and diagnostics. */
const TIMEOUT = (LIMIT + 180) * 1000;

interface PodList {
  items: {
    metadata: { name: string; uid: string };
    spec: { nodeName: string; resourceClaims: { resourceClaimName: string }[] };
    status: {
      phase: string;
      containerStatuses?: { containerID?: string; ready: boolean }[];
    };
  }[];
}

interface ClaimList {
  items: { metadata: { name: string; uid: string }; status: { allocation: object } }[];
}

interface PodState {
  readonly name: string;
  readonly node: string;
  readonly phase: string;
  readonly isReady: boolean;
  /** The id of its container with the share. */
  readonly container: string;
  /** What no restart may change. */
  readonly identity: object;
}

/** The pods of the namespace, sorted by name. @throws {ExecError} if the API server does not answer. */
async function readPods(): Promise<PodState[]> {
  const options = [...inNamespace, "--request-timeout=5s"];
  const pods = await get<PodList>("pods", ...options);
  const claims = await get<ClaimList>("resourceclaims", ...options);
  const allocations = new Map(
    claims.items.map(({ metadata: { name, uid }, status }) => [name, { uid, ...status.allocation }]),
  );
  return pods.items.map(({ metadata: { name, uid }, spec, status: { phase, containerStatuses = [] } }) => {
    const held = spec.resourceClaims.map(({ resourceClaimName }) => allocations.get(resourceClaimName));
    return {
      name,
      node: spec.nodeName,
      phase,
      isReady: containerStatuses.length > 0 && containerStatuses.every(({ ready }) => ready),
      container: containerStatuses[0]?.containerID ?? "",
      identity: { name, uid, claims: held },
    };
  });
}

/** What must be the same after a restart: the pods with their claims and GPUs, what their containers print, and what the servers know of leases. */
interface Snapshot {
  readonly pods: readonly PodState[];
  readonly gpus: readonly string[];
  readonly leases: readonly PoolEvent[];
}

/** What the container with the share has printed since its last start, without the messages of the client. */
async function printedGpus({ name }: PodState): Promise<string> {
  const log = await kubectl("logs", ...inNamespace, name, "-c", "main", "--request-timeout=5s");
  return log.replaceAll(/^bitfusion: .*\n/gm, "");
}

/** The pods, if all of them run. */
async function findRunning(): Promise<Snapshot | undefined> {
  const pods = await readPods();
  if (pods.length !== PODS || !pods.every(({ phase, isReady }) => phase === "Running" && isReady)) return undefined;
  const gpus = await Promise.all(pods.map(printedGpus));
  if (!gpus.every((text) => text !== "")) return undefined;
  return { pods, gpus, leases: await poolEvents(namespace) };
}

/** Waits until all pods run. @throws {Error} after the time limit, in seconds. */
async function untilRunning(timeout: number): Promise<Snapshot> {
  let running: Snapshot | undefined;
  await waitFor(
    "all pods to run",
    async () => {
      running = await findRunning();
      return running !== undefined;
    },
    { timeout },
  );
  return running as Snapshot;
}

const PRINT_AND_STAY = ["sh", "-c", 'echo "$BITFUSION_GPUS"; exec sleep 3600'];

/** The pods: by the client that runs commands, and by the one that is attached by sidecar. The last one is on the other worker. */
const BARE = sharePod({ namespace, name: "bare", num: 1, percent: 10, node, command: PRINT_AND_STAY });
const SERVER = cudaPod({ namespace, name: "server", node, containers: [cuda(5)] });
const STORE = cudaPod({
  ...{ namespace, name: "store", node, containers: [cuda(15)] },
  initContainers: [cudaContainer({ name: "prepare", num: 1, percent: 15 })],
});
const TRAIN = sharePod({ namespace, name: "train", num: 2, percent: 20, node, command: PRINT_AND_STAY });
const ELSEWHERE = sharePod({
  namespace,
  name: "elsewhere",
  num: 1,
  percent: 25,
  node: otherNode,
  command: PRINT_AND_STAY,
});
const PODS = 5;

function cuda(percent: number) {
  return cudaContainer({ num: 1, percent, keeps: true });
}

/** Kubernetes ends a pod with `Never` when its node restarts, whatever it requests. */
function restarting(pod: PodManifest): PodManifest {
  return { ...pod, spec: { ...pod.spec, restartPolicy: "OnFailure" } };
}

beforeAll(async () => {
  for (const name of [namespace, inOtherNamespace.namespace]) await kubectl("create", "namespace", name);
  await apply(restarting(BARE));
  await apply(workload("Deployment", SERVER));
  await apply(workload("StatefulSet", STORE));
  await apply(workload("Job", restarting(TRAIN)));
  await apply(restarting(ELSEWHERE));
  await untilRunning(120);
}, TIMEOUT);

afterAll(async () => {
  await kubectl("delete", "namespace", namespace, inOtherNamespace.namespace, "--wait=false");
  for (const rollout of [
    "daemonset -n bitfusion-node",
    "deployment -n bitfusion-system",
    "deployment -n kube-system",
  ]) {
    await kubectl("rollout", "status", ...rollout.split(" "), "--timeout=120s");
  }
}, TIMEOUT);

interface Drill {
  /** Restarts something. */
  restart: () => Promise<unknown>;
  /** Whether the containers of a pod must have started again. Those of the others must not. */
  restartsPod: (pod: PodState) => boolean;
}

/** Defines a test that expects that all pods run again within {@link LIMIT}, the same ones, and that new pods run on the node. Prints how long that took. */
function drill(name: string, { restart, restartsPod }: Drill): void {
  test(
    name,
    () =>
      runDrill(name, { restart, restartsPod }).catch(async (error) => {
        await diagnose(name, { namespace });
        throw error;
      }),
    TIMEOUT,
  );
}

async function runDrill(name: string, { restart, restartsPod }: Drill): Promise<void> {
  const before = await untilRunning(60);
  const earlier = new Map(before.pods.map((pod) => [pod.name, pod]));
  const hasRestarted = ({ name, container }: PodState) => container !== earlier.get(name)?.container;
  const start = performance.now();
  const seconds = () => Math.round((performance.now() - start) / 1000);
  const times = new Map<string, number>();
  const describeTimes = () => Array.from(times, ([what, time]) => `${what}: ${time} s`).join(", ");

  /** Notes which pods run again. No pod may have ended, or have been replaced. */
  async function look(): Promise<Snapshot | undefined> {
    const pods = await readPods();
    expect(pods.map(({ identity }) => identity)).toEqual(before.pods.map(({ identity }) => identity));
    for (const pod of pods) {
      expect(["Running", "Pending"], pod.name).toContain(pod.phase); // Pending: its init containers run again
      if (pod.isReady && hasRestarted(pod) === restartsPod(pod) && !times.has(pod.name)) times.set(pod.name, seconds());
    }
    return pods.every(({ name }) => times.has(name)) ? await findRunning() : undefined;
  }

  await restart();
  times.set("the restart", seconds());
  let after: Snapshot | undefined;
  let away: unknown;
  await waitFor(
    "all pods to run again",
    async () => {
      try {
        after = await look();
      } catch (error) {
        if (!(error instanceof ExecError)) throw error;
        away = error; // the API server or a kubelet does not answer yet
      }
      return after !== undefined;
    },
    { timeout: LIMIT - seconds() },
  ).catch((cause) => {
    throw new Error(`Not all pods run again (${describeTimes()}), after ${away ?? "no failure"}`, { cause });
  });
  times.set("all", seconds());
  expect(after?.gpus).toEqual(before.gpus);
  expect(after?.leases).toEqual(before.leases); // no lease has ended, and none was granted again
  expect(after?.pods.filter(hasRestarted).map((pod) => pod.name)).toEqual(
    before.pods.filter(restartsPod).map((pod) => pod.name),
  );
  const { status } = await get<{ status: { active: number; failed?: number } }>("job", "train", ...inNamespace);
  expect([status.active, status.failed ?? 0]).toEqual([1, 0]);

  const next = { ...inOtherNamespace, name: `after-${crypto.randomUUID().slice(0, 8)}` };
  const pod = sharePod({ ...next, num: 1, percent: 10, node });
  await waitFor("every webhook replica to respond", () => apply(pod).then(Boolean, () => false));
  await waitForSuccess(next.namespace, next.name);
  times.set("a new pod", seconds());
  await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [node], timeout: 10 });
  console.log(`${name}: ${describeTimes()}`);
}

drill("a worker restarts", {
  restart: () => exec(["docker", "restart", node]),
  restartsPod: (pod) => pod.node === node,
});

drill("the kubelet restarts with an emptied CDI folder, and the containers have ended", {
  async restart() {
    const inNode = (command: string) => exec(["docker", "exec", node, "sh", "-ec", command]);
    await inNode("systemctl stop kubelet");
    await inNode("rm /var/run/cdi/*");
    const label = `io.kubernetes.pod.namespace=${namespace}`;
    await inNode(`crictl stop --timeout 0 $(crictl ps --quiet --name '^main$' --label ${label})`);
    await inNode("systemctl start kubelet");
  },
  restartsPod: (pod) => pod.node === node,
});

drill("the control plane restarts", {
  restart: () => exec(["docker", "restart", CONTROL_PLANE]),
  restartsPod: () => false,
});

drill("all nodes lose power at once, and start again", {
  async restart() {
    const nodes = [CONTROL_PLANE, ...WORKERS];
    const addresses = new Map(await Promise.all(nodes.map(async (name) => [name, await addressOf(name)] as const)));
    await exec(["docker", "kill", ...nodes]);
    // In this order each node gets its address again, as machines do: Docker gives the lowest one that is free.
    const order = nodes.toSorted((a, b) =>
      `${addresses.get(a)}`.localeCompare(`${addresses.get(b)}`, "en", { numeric: true }),
    );
    for (const name of order) await exec(["docker", "start", name]);
    for (const name of nodes) expect(await addressOf(name), name).toBe(addresses.get(name) ?? "");
  },
  restartsPod: () => true,
});

async function addressOf(container: string): Promise<string> {
  const format = "{{.NetworkSettings.Networks.kind.IPAddress}}";
  return (await exec(["docker", "inspect", "--format", format, container])).trim();
}
