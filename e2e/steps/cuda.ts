import * as v from "valibot";
import { CLIENT_FILES } from "../cluster/images.ts";
import { SERVERS } from "../cluster/pool.ts";
import { leasesOf, type PoolEvent, poolEvents } from "../records/pool_log.ts";
import { exec } from "./exec.ts";
import { kubectl, waitFor } from "./kubectl.ts";
import { type ContainerManifest, type PodManifest, type PodOptions, pod, share } from "./pods.ts";

/** The pool server that forwards calls. */
export const DATA_PLANE_SERVER = SERVERS.find(({ hasDataPlane }) => hasDataPlane)?.name ?? "";

/** Memory of a GPU for each unit, in MB. */
const MB_PER_UNIT = 160;

/** Where `bitfusion forward` listens, and the client expects its server. */
export const LOCAL_PORT = 14_833;

const FORWARD = `/bitfusion/bin/bitfusion forward 2> /tmp/forward &
until grep -qs Forwarding /tmp/forward; do sleep 0.1; done
exec cuda-program "$@"`;

/** A container with a CUDA program and the client's library. */
export function cudaContainer(server: string, container: Partial<ContainerManifest> = {}): ContainerManifest {
  return {
    name: "main",
    command: ["cuda-program"],
    env: [
      { name: "LD_LIBRARY_PATH", value: "/cuda/lib" },
      { name: "STAND_IN_SERVER", value: server },
    ],
    volumeMounts: [{ name: "cuda", mountPath: "/cuda" }],
    ...container,
  };
}

/** The volume of {@link cudaContainer}. */
export const CUDA_VOLUME = { name: "cuda", image: { reference: CLIENT_FILES, pullPolicy: "IfNotPresent" } };

export interface CudaPodOptions extends Omit<PodOptions, "containers"> {
  num: number;
  percent: number;
  /** Whether the program uses a GPU until that fails. Otherwise it prints which GPUs it has. */
  keeps?: boolean;
  /** Containers beside the one with the program, `main`. */
  others?: ContainerManifest[];
}

/** Creates a pod that runs a CUDA program on a share of the server that forwards calls. */
export function cudaPod({ num, percent, keeps = false, others = [], ...rest }: CudaPodOptions): PodManifest {
  const main = cudaContainer(`127.0.0.1:${LOCAL_PORT}`, {
    command: ["sh", "-c", FORWARD, "sh", ...(keeps ? ["--keep"] : [])],
    resources: share(num, percent),
  });
  const filter = `server.hostname=${DATA_PLANE_SERVER}`;
  return pod({ mode: "injection", filter, containers: [main, ...others], volumes: [CUDA_VOLUME], ...rest });
}

/** What the program of a pod prints if it has exactly the GPUs of the pod's lease. */
export async function gpusOfLease(namespace: string, name: string): Promise<string> {
  const leases = await leasesOf(namespace, name);
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

/** Waits until the program of a pod has printed the GPUs of its lease. */
export async function waitForGpus(namespace: string, pod: string): Promise<void> {
  await waitFor(`${pod} to use its GPUs`, async () => {
    const log = await kubectl("logs", "-n", namespace, pod, "-c", "main").catch(() => ""); // it has not started
    return log !== "" && log === (await gpusOfLease(namespace, pod));
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
