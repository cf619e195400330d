// The base is installed over the component for units, which other drills have installed.
import { beforeAll, expect } from "bun:test";
import { REMOVE_COPIES } from "../cluster/commands.ts";
import { POOL_UNITS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { INSTALL_TIMEOUT, install } from "../steps/installation.ts";
import { apply, kubectl, NODE_CAPACITY, waitFor, waitForSuccess, waitForUnits } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { leasesOf } from "../steps/pool_log.ts";
import { expectUndisturbed, publishedGpus, secretRights, startPod } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";

/** How long the kubelet remembers a device plugin that has ended, in ms, and some time for the test. */
const TIMEOUT = 300_000 + INSTALL_TIMEOUT;

beforeAll(() => install("units"), INSTALL_TIMEOUT);

scenario(
  "a change back to claims disturbs no pod that holds units, and new pods run once the kubelet has forgotten the device plugin",
  async (namespace) => {
    const holder = { namespace, name: "holder" };
    await startPod(holder);
    await install("claims");
    const start = performance.now();
    await waitFor("the GPUs to be published again", async () => (await publishedGpus()).length === POOL_UNITS / 100);
    await apply(sharePod({ namespace, name: "new", num: 1, percent: 5 }));
    await waitForUnits("allocatable", NODE_CAPACITY, { timeout: 360 });
    console.log(`new pods wait: ${((performance.now() - start) / 1000).toFixed(0)} s`);
    await waitForSuccess(namespace, "new");
    expect((await leasesOf(namespace, "new")).length).toBe(1);
    await expectUndisturbed(holder);
    expect(await secretRights(namespace)).toEqual([]);
    await exec(REMOVE_COPIES.split(" "));
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 5 }));
    await waitForSuccess(namespace, "after");
    expect(await kubectl("get", "secrets", "-n", namespace, "-o", "name")).toBe("");
  },
  { timeout: TIMEOUT },
);
