import * as v from "valibot";
import { CUDA } from "../cluster/images.ts";
import { SERVERS } from "../cluster/pool.ts";
import { leasesOf, type PoolEvent, poolEvents } from "../records/pool_log.ts";
import { exec } from "./exec.ts";
import { kubectl, waitFor } from "./kubectl.ts";
import { type ContainerManifest, type PodManifest, type PodOptions, pod, share } from "./pods.ts";

/** The pool server that forwards calls. */
export const DATA_PLANE_SERVER = SERVERS.find(({ hasDataPlane }) => hasDataPlane)?.name ?? "";

/** Memory of a GPU for each unit, in MB. */
const MB_PER_UNIT = 160;

export interface CudaContainerOptions extends Partial<ContainerManifest> {
  num: number;
  percent: number;
  /** Whether the program uses a GPU until that fails. Otherwise it prints which GPUs it has. */
  keeps?: boolean;
}

/** A container with a share whose image runs a CUDA program by its entrypoint. */
export function cudaContainer({ num, percent, keeps, ...rest }: CudaContainerOptions): ContainerManifest {
  const args = keeps ? { args: ["--keep"] } : {};
  return { name: "main", image: CUDA, ...args, resources: share(num, percent), ...rest };
}

/** A pod whose client is that of the server that forwards calls. */
export function cudaPod(options: Omit<PodOptions, "mode" | "os">): PodManifest {
  return pod({ mode: "yes", os: "stand-in", ...options });
}

/** What the program of a container prints if it has exactly the GPUs of the container's lease. */
export async function gpusOfLease(namespace: string, pod: string, container = "main"): Promise<string> {
  const leases = (await leasesOf(namespace, pod)).filter(({ owner }) => owner.container.split(" ").includes(container));
  const lines = leases.flatMap(({ gpus }) => gpus.map(({ gpuId, units }) => `${gpuId}: ${units * MB_PER_UNIT} MB\n`));
  return lines.join("");
}

const ProcessStarted = v.object({
  message: v.literal("Data-plane process started"),
  owner: v.object({ namespace: v.string(), pod: v.string() }),
  pid: v.number(),
});

/** How many data-plane processes of a pod's leases run. */
export async function countProcesses(namespace: string, pod: string): Promise<number> {
  const lines = (await exec(["docker", "logs", DATA_PLANE_SERVER])).split("\n").filter((line) => line.startsWith("{"));
  const pids = lines.flatMap((line) => {
    const { success, output } = v.safeParse(ProcessStarted, JSON.parse(line));
    return success && output.owner.namespace === namespace && output.owner.pod === pod ? [`${output.pid}`] : [];
  });
  const count = 'for pid; do [ ! -e "/proc/$pid" ] || echo "$pid"; done';
  const running = await exec(["docker", "exec", DATA_PLANE_SERVER, "sh", "-c", count, "sh", ...pids]);
  return running.split("\n").filter(Boolean).length;
}

/** Waits until the program of a container has printed the GPUs of its lease, and nothing else. */
export async function waitForGpus(namespace: string, pod: string, container = "main"): Promise<void> {
  await waitFor(`${pod} to use the GPUs of ${container}`, async () => {
    const log = await kubectl("logs", "-n", namespace, pod, "-c", container).catch(() => ""); // it has not started
    return log !== "" && log === (await gpusOfLease(namespace, pod, container));
  });
}

/** Waits until the lease of a pod has ended. @throws {Error} after the time limit, in seconds. */
export async function waitForLeaseEnd(namespace: string, pod: string, timeout: number): Promise<void> {
  const isEnd = ({ message, owner }: PoolEvent) => message === "Lease ended" && owner.pod === pod;
  await waitFor(`the end of the lease of ${pod}`, async () => (await poolEvents(namespace)).some(isEnd), { timeout });
}

/** Waits until a pod has no data-plane process. @throws {Error} after the time limit, in seconds. */
export async function waitForProcessEnd(namespace: string, pod: string, timeout: number): Promise<void> {
  await waitFor(
    `the end of the data-plane process of ${pod}`,
    async () => (await countProcesses(namespace, pod)) === 0,
    { timeout },
  );
}
