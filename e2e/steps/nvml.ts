import { parse, stringify } from "yaml";
import { formatStandIn, type StandInState } from "../../server/gpus/nvidia/testing/nvml_stand_in.ts";
import { POOL_PORT } from "../cluster/pool.ts";
import { DATA_PLANE_SERVER } from "./cuda.ts";
import { exec } from "./exec.ts";
import { kubectl, WORKERS, waitFor } from "./kubectl.ts";

/** In the image of the server. */
const FOLDER = "/var/lib/nvml";
const METRICS_PORT = 56_003;
/** The first uid of data-plane processes. */
const FIRST_UID = 2_000_000_000;

/** Runs a script in the container of the server. */
function inServer(script: string, options: { args?: string[]; stdin?: string } = {}): Promise<string> {
  const { args = [], stdin } = options;
  return exec(["docker", "exec", "-i", DATA_PLANE_SERVER, "sh", "-c", script, "sh", ...args], {
    ...(stdin === undefined ? {} : { stdin }),
  });
}

/** Sets what the stand-in for NVML in the server answers from now on. */
export async function answerNvml(state: StandInState): Promise<void> {
  const stdin = formatStandIn(state);
  await inServer(`cat > ${FOLDER}/new && mv ${FOLDER}/new ${FOLDER}/state`, { stdin });
}

/**
 * Restarts the server that forwards calls with NVIDIA GPUs, those of the stand-in for NVML, and with metrics. Disposal restarts it as it was.
 */
export async function useNvidiaGpus(state: StandInState): Promise<AsyncDisposable> {
  const before = await inServer('cat "$CONFIG_FILE"');
  const configure = async (configuration: string) => {
    await inServer('cat > "$CONFIG_FILE"', { stdin: configuration });
    await exec(["docker", "restart", DATA_PLANE_SERVER]);
  };
  await answerNvml(state);
  const gpus = { nvidia: { library: `${FOLDER}/libnvidia-ml.so.1` } };
  await configure(stringify({ ...parse(before), gpus, metrics: { host: "0.0.0.0", port: METRICS_PORT } }));
  return {
    async [Symbol.asyncDispose]() {
      await configure(before);
      // those of the stand-in stay, with a taint, while a pod holds them
      await waitFor("the simulated GPUs", async () => (await slices()).includes(`${DATA_PLANE_SERVER}:${POOL_PORT}/0`));
    },
  };
}

/** All ResourceSlices, in YAML. */
export function slices(): Promise<string> {
  return kubectl("get", "resourceslices", "-o", "yaml");
}

/** The data-plane processes of all leases, as the server numbers them. */
export async function dataPlaneProcesses(): Promise<number[]> {
  const list = 'for each in /proc/[0-9]*/status; do grep -sH "^Uid:" "$each" || true; done';
  return (await inServer(list)).split("\n").flatMap((line) => {
    const [, pid, uid] = /^\/proc\/(\d+)\/status:Uid:\s+(\d+)/.exec(line) ?? [];
    return Number(uid) >= FIRST_UID ? [Number(pid)] : [];
  });
}

/** The server's metrics, as a node reads them. */
export function serverMetrics(): Promise<string> {
  const url = `http://${DATA_PLANE_SERVER}:${METRICS_PORT}/metrics`;
  return exec(["docker", "exec", WORKERS[0], "curl", "--silent", "--fail", url]);
}
