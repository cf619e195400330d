// The component for units is installed over the programs that run. restarts_e2e.ts needs units, too; return_to_claims_e2e.ts goes back.
import { afterAll, beforeAll, expect } from "bun:test";
import { poolEvents, summarizeLeases } from "../records/pool_log.ts";
import { INSTALL_TIMEOUT, install } from "../steps/installation.ts";
import { apply, get, kubectl, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { loadStatus, startLoad } from "../steps/load.ts";
import { sharePod } from "../steps/pods.ts";
import { expectUndisturbed, publishedGpus, secretRights, startPod } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";

/** The server of the pool with two GPUs. */
const SERVER_A = "server.hostname=bitfusion-pool-a";
const KEEP_RUNNING = ["sleep", "600"];

/** A pod with a claim, which runs while the component is installed, in a namespace of its own. */
const BEFORE = { namespace: "e2e-before", name: "before" };

interface Secret {
  metadata: { ownerReferences?: object[] };
  data: Record<string, string>;
}

beforeAll(async () => {
  await kubectl("create", "namespace", BEFORE.namespace);
  await startPod(BEFORE);
  await install("units");
}, INSTALL_TIMEOUT);

afterAll(() => kubectl("delete", "namespace", BEFORE.namespace, "--wait=false"));

scenario("a change to units disturbs no pod that holds a claim, and the pod can still be ended", async () => {
  await waitFor("the published GPUs to be removed", async () => (await publishedGpus()).length === 0);
  await expectUndisturbed(BEFORE);
  await kubectl("delete", "pod", BEFORE.name, "-n", BEFORE.namespace, "--timeout=60s");
  await waitFor("the end of the lease", async () => {
    const events = await poolEvents(BEFORE.namespace);
    return events.some(({ message }) => message === "Lease ended");
  });
});

scenario(
  "with units, 40 pods of 50 percent on two GPUs run at twelve where four fit, and eight wait in their container",
  async (namespace) => {
    await startLoad(namespace, { count: 40, command: KEEP_RUNNING, filter: SERVER_A });
    await waitFor("each node to run as many pods as the pool's three GPUs hold", async () => {
      return (await loadStatus(namespace)).ready === 12;
    });
    await waitFor("the pool to refuse the claims that exceed two GPUs", async () => {
      const events = await poolEvents(namespace);
      const refused = events.filter(({ message }) => message === "Claim refused").map(({ owner }) => owner.pod);
      // More may not fit: each is in a running container, which uses memory of its node.
      return summarizeLeases(events).granted >= 4 && new Set(refused).size >= 8;
    });
    const summary = summarizeLeases(await poolEvents(namespace));
    console.log("units:", summary);
    expect(summary).toMatchObject({ granted: 4, maxLeases: 4, maxUnits: 100 }); // the pool servers never exceed a GPU
  },
);

scenario("with units, a namespace gets a copy of the token, which belongs to bitfusion-system", async (namespace) => {
  const secret = ["secret", "bitfusion-secret", "-n", namespace];
  await apply(sharePod({ namespace, name: "first", num: 1, percent: 5 }));
  await waitForSuccess(namespace, "first");
  const { metadata, data } = await get<Secret>(...secret);
  expect(Object.keys(data).toSorted()).toEqual(["ca.crt", "client.yaml", "servers.conf"]);
  const { metadata: owner } = await get<{ metadata: { uid: string } }>("namespace", "bitfusion-system");
  const reference = { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: owner.uid };
  expect(metadata.ownerReferences).toEqual([reference]);
  const change = { metadata: { ownerReferences: null }, data: { "ca.crt": "" } };
  await kubectl("patch", ...secret, "--type=merge", "-p", JSON.stringify(change));
  await apply(sharePod({ namespace, name: "second", num: 1, percent: 5 }));
  expect(await get<Secret>(...secret)).toMatchObject({ metadata: { ownerReferences: [reference] }, data });
  expect(await secretRights(namespace)).toEqual(["get secrets/bitfusion-secret", "create secrets"]);
});
