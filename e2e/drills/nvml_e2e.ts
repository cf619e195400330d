import { expect } from "bun:test";
import { leasesOf } from "../records/pool_log.ts";
import { cudaContainer, cudaPod, DATA_PLANE_SERVER, waitForGpus } from "../steps/cuda.ts";
import { exec } from "../steps/exec.ts";
import { apply, kubectl, waitFor } from "../steps/kubectl.ts";
import { parseMetrics } from "../steps/metrics.ts";
import { answerNvml, dataPlaneProcesses, serverMetrics, slices, useNvidiaGpus } from "../steps/nvml.ts";
import { scenario } from "../steps/scenario.ts";

const GPU = { uuid: "GPU-8dee6ce5-8b1e-4d5c-a8c6-1d7ee2e6a6ab", memory: 16_000_000_000, name: "Tesla T4" };
const [WITHIN, OVER] = [7_000_000_000, 9_000_000_000];

/** The lines of the server's log with this message that name a pod. */
async function logged(message: string, namespace: string): Promise<string[]> {
  const lines = (await exec(["docker", "logs", DATA_PLANE_SERVER])).split("\n");
  return lines.filter((line) => line.includes(`"${message}"`) && line.includes(namespace));
}

scenario(
  "NVIDIA GPUs: the metrics tell what a pod uses, a process that keeps more memory than its share is ended, and an Xid error taints the GPU",
  async (namespace) => {
    await using _gpus = await useNvidiaGpus({ gpus: [{ ...GPU, processes: [] }] });
    await waitFor("the GPU in a slice", async () => (await slices()).includes(GPU.uuid));
    const manifest = cudaPod({
      namespace,
      name: "trainer",
      containers: [cudaContainer({ num: 1, percent: 50, keeps: true })],
    });
    await apply({ ...manifest, spec: { ...manifest.spec, restartPolicy: "OnFailure" } });
    await waitForGpus(namespace, "trainer");
    const running = await dataPlaneProcesses(); // that of the lease, and its child for the connection
    const [pid = 0] = running;

    const labels = `client="kind",namespace="${namespace}",pod="trainer",container="main",gpu="${GPU.uuid}"`;
    const use = async (memory: number) => {
      await answerNvml({ gpus: [{ ...GPU, processes: [{ pid, memory, utilization: 30 }] }] });
      await waitFor(`a use of ${memory} bytes in the metrics`, async () => {
        const metrics = parseMetrics(await serverMetrics());
        return metrics.get(`bitfusion_server_lease_memory_used_bytes{${labels}}`) === memory;
      });
    };
    await use(OVER);
    await use(WITHIN); // a false alarm
    await use(OVER);
    await use(WITHIN);
    expect(parseMetrics(await serverMetrics()).get(`bitfusion_server_lease_utilization_ratio{${labels}}`)).toBe(0.3);
    expect(await logged("Ending a data-plane process", namespace)).toEqual([]);
    expect(await dataPlaneProcesses()).toEqual(running);

    await use(OVER);
    await waitFor("the end of the process", async () => !(await dataPlaneProcesses()).includes(pid));
    await answerNvml({ gpus: [{ ...GPU, processes: [] }] });
    const [line = ""] = await logged("Ending a data-plane process", namespace);
    expect(JSON.parse(line)).toMatchObject({
      owner: { namespace, pod: "trainer", container: "main" },
      why: expect.stringMatching(/^The process used 9000 MB of GPU-8dee\S+ for \d+ s: the lease has 8000 MB$/),
    });
    await waitFor("the restart of the container", async () => {
      const previous = kubectl("logs", "-n", namespace, "trainer", "-c", "main", "--previous");
      return (await previous.catch(() => "")).includes("CUDA error");
    });
    await waitForGpus(namespace, "trainer");
    expect(await leasesOf(namespace, "trainer")).toHaveLength(1);

    await answerNvml({ gpus: [{ ...GPU, processes: [] }], xids: [{ gpu: 0, number: 79 }] });
    await waitFor("the taint", async () => (await slices()).includes("value: xid-79"));
  },
);
