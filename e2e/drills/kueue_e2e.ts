import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { diagnose } from "../cluster/diagnostics.ts";
import { WORKLOAD } from "../cluster/images.ts";
import { readGuide } from "../kueue/guide.ts";
import { installKueue } from "../kueue/installation.ts";
import { countedFor, reasonOf, usageOf, workloadOf } from "../kueue/queues.ts";
import { poolEvents } from "../records/pool_log.ts";
import { apply, get, kubectl, waitFor } from "../steps/kubectl.ts";
import type { Manifest } from "../steps/manifests.ts";
import type { PodManifest } from "../steps/pods.ts";

const TEAMS = ["team-a", "team-b"] as const;
const UNITS = "bitfusion.io/gpu";
const QUEUE_LABEL = "kueue.x-k8s.io/queue-name";
/** Runs until the test ends it. */
const UNTIL_ENDED = ["sh", "-c", "until [ -e /tmp/ended ]; do sleep 0.2; done"];
/** Of the installation, in ms. The first time on a machine, it builds Kueue. */
const INSTALL_TIMEOUT = 1_200_000;

const guide = await readGuide();
const ofKind = (...kinds: string[]) => guide.filter(({ kind }) => kinds.includes(kind));
const [example] = ofKind("Job");

type Limits = Readonly<Record<string, number | string>>;

/** The Job of the guide with other limits. */
function job(namespace: string, name: string, limits: Limits): Manifest {
  const changed = structuredClone(example as Manifest);
  Object.assign(changed.metadata, { name, namespace });
  const { spec } = changed.spec.template;
  Object.assign(spec, { terminationGracePeriodSeconds: 1 });
  Object.assign(spec.containers[0], { image: WORKLOAD, command: UNTIL_ENDED, resources: { limits } });
  return changed;
}

/** A Pod like the Job. */
function pod(namespace: string, name: string, limits: Limits): Manifest {
  const { template } = job(namespace, name, limits).spec;
  const metadata = { ...template.metadata, name, namespace, labels: { [QUEUE_LABEL]: "gpus" } };
  return { apiVersion: "v1", kind: "Pod", metadata, spec: template.spec };
}

/** A Deployment like the Job. */
function deployment(namespace: string, name: string, limits: Limits): Manifest {
  const { metadata, spec } = job(namespace, name, limits).spec.template;
  const template = { metadata: { ...metadata, labels: { app: name } }, spec: { ...spec, restartPolicy: "Always" } };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace, labels: { [QUEUE_LABEL]: "gpus" } },
    spec: { selector: { matchLabels: { app: name } }, template },
  };
}

/** The pods of a namespace, or of a Job in it, that have not ended. */
async function podsOf(namespace: string, job?: string): Promise<PodManifest[]> {
  const selector = job === undefined ? [] : ["-l", `batch.kubernetes.io/job-name=${job}`];
  const hasNotEnded = "--field-selector=status.phase!=Succeeded,status.phase!=Failed";
  return (await get<{ items: PodManifest[] }>("pods", "-n", namespace, hasNotEnded, ...selector)).items;
}

function unitsOf(pods: readonly PodManifest[]): number {
  const limits = pods.flatMap(({ spec }) => spec.containers).map(({ resources }) => resources?.limits?.[UNITS] ?? 0);
  return limits.reduce<number>((sum, units) => sum + Number(units), 0);
}

/** Units of the leases that a namespace holds. */
async function leasedUnits(namespace: string): Promise<number> {
  const units = (await poolEvents(namespace)).flatMap(({ message, gpus }) =>
    gpus.map((gpu) => (message === "Lease granted" ? gpu.units : message === "Lease ended" ? -gpu.units : 0)),
  );
  return units.reduce((sum, each) => sum + each, 0);
}

/** Waits until Kueue, the pods and the pool servers agree about the units of a team. */
async function expectUnits(team: string, total: number, borrowed: number): Promise<void> {
  await waitFor(`${team} to hold ${total} units`, async () => (await leasedUnits(team)) === total);
  expect(unitsOf(await podsOf(team))).toBe(total);
  expect(await usageOf(team)).toEqual({ total, borrowed });
}

async function waitForReady(namespace: string, name: string): Promise<void> {
  await waitFor(`Job ${name} to run`, async () => {
    const { status } = await get<{ status: { ready?: number } }>("job", name, "-n", namespace);
    return status.ready === 1;
  });
}

async function end(namespace: string, name: string): Promise<void> {
  const [{ metadata }] = (await podsOf(namespace, name)) as [PodManifest];
  await kubectl("exec", "-n", namespace, metadata.name, "--", "touch", "/tmp/ended");
  await kubectl("wait", "-n", namespace, `job/${name}`, "--for=condition=Complete", "--timeout=60s");
}

/** Whether Kueue holds a Job back: it is suspended, and has no pods. */
async function isHeldBack(namespace: string, name: string): Promise<boolean> {
  const { spec } = await get<{ spec: { suspend?: boolean } }>("job", name, "-n", namespace);
  return spec.suspend === true && (await podsOf(namespace, name)).length === 0;
}

/** False if nothing listens. @throws {Error} any other one. */
function isRefusedConnection(error: Error): false {
  if (error.message.includes("connection refused")) return false;
  throw error;
}

/** Defines a test in the namespaces of both teams, with their queues. */
function testTeams(name: string, run: () => Promise<void>): void {
  test(name, async () => {
    for (const team of TEAMS) await kubectl("create", "namespace", team);
    try {
      for (const queue of ofKind("LocalQueue")) await apply(queue);
      await run();
    } catch (error) {
      await diagnose(name, {});
      throw error;
    } finally {
      await kubectl("delete", "namespace", ...TEAMS, "--timeout=120s");
    }
  });
}

const hasGo = Bun.which("go") !== null;
if (!hasGo) console.warn("The tests of Kueue are skipped: they build it, and Go is not installed");

describe.skipIf(!hasGo)("Kueue", () => {
  const queues = ofKind("ResourceFlavor", "ClusterQueue");
  const resources = new AsyncDisposableStack();

  beforeAll(async () => {
    const [configuration] = ofKind("Configuration");
    resources.use(await installKueue({ resources: configuration?.resources }));
    for (const queue of queues) {
      // The proxies of the nodes learn a little later that Kueue's webhook serves.
      await waitFor("Kueue's webhook", () => apply(queue).then(() => true, isRefusedConnection));
      resources.defer(async () => void (await kubectl("delete", queue.kind, queue.metadata.name, "--timeout=60s")));
    }
  }, INSTALL_TIMEOUT);

  afterAll(() => resources.disposeAsync(), INSTALL_TIMEOUT);

  testTeams("counts as many units as the pods request, in each form of a request", async () => {
    const team = "team-b";
    const forms: Record<string, [Manifest, number]> = {
      units: [job(team, "units", { [UNITS]: 7 }), 7],
      gpus: [job(team, "gpus", { [UNITS]: 200 }), 200],
      parts: [job(team, "parts", { [UNITS]: 14, "bitfusion.io/gpu-num": 2 }), 14],
      percent: [job(team, "percent", { "bitfusion.io/gpu-num": 2, "bitfusion.io/gpu-percent": 8 }), 16],
      chart: [job(team, "chart", { "nvidia.com/gpu": 1 }), 100],
      pod: [pod(team, "pod", { "bitfusion.io/gpu-num": 1, "bitfusion.io/gpu-memory": "1600M" }), 10],
      deployment: [deployment(team, "deployment", { "bitfusion.io/gpu-num": 3, "bitfusion.io/gpu-percent": 4 }), 12],
    };
    for (const [name, [manifest, units]] of Object.entries(forms)) {
      await apply(manifest);
      const isOfForm = (owner: string) => owner === name || owner.startsWith(`${name}-`);
      const isAdmitted = ({ spec }: PodManifest) => spec.schedulingGates === undefined;
      const findPod = async () => (await podsOf(team)).find((each) => isOfForm(each.metadata.name) && isAdmitted(each));
      await waitFor(`a pod of ${name}`, async () => (await findPod()) !== undefined);
      const found = (await findPod()) as PodManifest;
      const workload = await workloadOf(team, manifest.kind === "Job" ? name : found.metadata.name);
      expect([name, countedFor(workload), unitsOf([found])]).toEqual([name, { [UNITS]: `${units}` }, units]);
      await kubectl("delete", "-n", team, manifest.kind, name);
    }
    await apply(job(team, "memory", { "bitfusion.io/gpu-num": 1, "bitfusion.io/gpu-memory": "1600M" }));
    await waitFor("the reason why the Job is not admitted", async () =>
      (await kubectl("describe", "workloads", "-n", team)).includes(
        "resource bitfusion.io/gpu-memory unavailable in ClusterQueue",
      ),
    );
    expect(await isHeldBack(team, "memory")).toBe(true);
  });

  testTeams("a team borrows GPUs, the other one takes them back, and all Jobs run", async () => {
    const [a, b] = TEAMS;
    await apply(job(a, "own", { [UNITS]: 100 }));
    await waitForReady(a, "own");
    await apply(job(a, "borrows", { "bitfusion.io/gpu-num": 2, "bitfusion.io/gpu-percent": 50 }));
    await waitForReady(a, "borrows");
    await expectUnits(a, 200, 100);

    await apply(job(a, "waits", { [UNITS]: 200 })); // more than both teams have left
    await waitFor("its Workload", async () => (await workloadOf(a, "waits")) !== undefined);
    expect(await isHeldBack(a, "waits")).toBe(true);

    await apply(job(b, "reclaims", { [UNITS]: 200 })); // one of the two GPUs is that of "borrows"
    await waitFor("the pods of the other team to end", () => isHeldBack(a, "borrows"));
    await waitForReady(b, "reclaims");
    await expectUnits(a, 100, 0);
    await expectUnits(b, 200, 0);
    expect(reasonOf(await workloadOf(a, "borrows"), "Preempted")).toBe("InCohortReclamation");
    expect(await isHeldBack(a, "waits")).toBe(true);

    await end(b, "reclaims");
    await waitForReady(a, "borrows");
    await expectUnits(a, 200, 100);
    await end(a, "own");
    await end(a, "borrows");
    await waitForReady(a, "waits");
    await expectUnits(a, 200, 100);
    await end(a, "waits");
    const refused = (await Promise.all(TEAMS.map(poolEvents)))
      .flat()
      .filter(({ message }) => message === "Claim refused");
    expect(refused).toEqual([]);
  });
});
