import { expect } from "bun:test";
import { leasesOf } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, NODE_CAPACITY, WORKERS, waitFor, waitForUnits } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const [, node] = WORKERS;

interface Pod {
  metadata: { uid: string };
  status: { phase: string; containerStatuses: { restartCount: number; ready: boolean }[] };
}

scenario(
  "a node restart ends no pod with a share: it runs again, with the same lease",
  async (namespace) => {
    const manifest = sharePod({ namespace, name: "holder", num: 1, percent: 30, node, command: ["sleep", "3600"] });
    await apply({ ...manifest, spec: { ...manifest.spec, restartPolicy: "OnFailure" } });
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
    const holder = () => get<Pod>("pod", "holder", "-n", namespace);
    const { metadata } = await holder();
    await exec(["docker", "restart", node]);
    await waitFor(
      "the pod to run again",
      async () =>
        (await holder()).status.containerStatuses.some(({ restartCount, ready }) => restartCount > 0 && ready),
      { timeout: 180 },
    );
    expect((await holder()).metadata.uid).toBe(metadata.uid);
    expect(await leasesOf(namespace, "holder")).toHaveLength(1);
    await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [node], timeout: 10 });
  },
  { timeout: 360_000 },
);
