// The base is installed over the component for units, which other drills have installed.
import { beforeAll, expect } from "bun:test";
import { REMOVE_COPIES } from "../cluster/commands.ts";
import { POOL_UNITS } from "../cluster/pool.ts";
import { leasesOf } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { INSTALL_TIMEOUT, install } from "../steps/installation.ts";
import { apply, kubectl, NODE_CAPACITY, WORKERS, waitFor, waitForSuccess, waitForUnits } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { expectUndisturbed, publishedGpus, secretRights, startPod } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";

const [node, otherNode] = WORKERS;

/** How long the kubelet remembers a device plugin that has ended, in ms, and some time for the test. */
const TIMEOUT = 300_000 + 2 * INSTALL_TIMEOUT;

beforeAll(() => install("units"), INSTALL_TIMEOUT);

scenario(
  "a change back to claims disturbs no pod that holds units, and nodes without such pods take new pods after five minutes",
  async (namespace) => {
    const holder = { namespace, name: "holder", node };
    await startPod(holder);
    await install("claims");
    const start = performance.now();
    await waitFor("the GPUs to be published again", async () => (await publishedGpus()).length === POOL_UNITS / 100);
    await waitForUnits("allocatable", "0"); // the kubelets have reported the end of the device plugin
    await apply(sharePod({ namespace, name: "new", num: 1, percent: 5 }));
    await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [otherNode], timeout: 400 });
    console.log(`new pods wait: ${((performance.now() - start) / 1000).toFixed(0)} s`);
    await waitForSuccess(namespace, "new");
    expect((await leasesOf(namespace, "new")).length).toBe(1);
    await expectUndisturbed(holder);
    await waitForUnits("allocatable", "0", { nodes: [node] }); // its kubelet would fail new pods
    expect(await secretRights(namespace)).toEqual([]);

    await kubectl("delete", "pod", "holder", "-n", namespace);
    await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [node] });
    await exec(REMOVE_COPIES.split(" "));
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 5, node }));
    await waitForSuccess(namespace, "after");
    expect(await kubectl("get", "secrets", "-n", namespace, "-o", "name")).toBe("");
  },
  { timeout: TIMEOUT },
);
