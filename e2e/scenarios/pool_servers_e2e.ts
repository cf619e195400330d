import { expect } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../../grpc/client.ts";
import { PodResourcesLister } from "../../proto/gen/podresources/v1/api_pb.ts";
import { temporaryFolder } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { apply, kubectl, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { sharePod } from "../steps/pods.ts";
import { expectUndisturbed } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";

const CONFIGURATION = "kind/pool_b.yaml";
const ON_SERVER_B = { num: 1, percent: 30, filter: "server.hostname=bitfusion-pool-b" };

/** Starts a pod that holds a share of server B. */
async function startHolder(namespace: string): Promise<void> {
  await apply(sharePod({ ...ON_SERVER_B, namespace, name: "holder", command: ["sleep", "600"] }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
}

/** The messages of server B since a time, in ms since the epoch. */
async function messagesSince(time: number): Promise<string> {
  return exec(["docker", "logs", "--since", new Date(time).toISOString(), "bitfusion-pool-b"]);
}

scenario(
  "a drained pool server keeps its pods, gets no new ones, and says when it can be stopped",
  async (namespace) => {
    const text = await readFile(CONFIGURATION, "utf8");
    const start = Date.now();
    await startHolder(namespace);
    await writeFile(CONFIGURATION, `${text}drain: true\n`);
    try {
      const slices = () => kubectl("get", "resourceslices", "-o", "yaml");
      await waitFor("the taint", async () => (await slices()).includes("key: bitfusion.io/draining"));
      await apply(sharePod({ ...ON_SERVER_B, namespace, name: "new" }));
      await waitFor("the Event of the new pod", async () =>
        (await kubectl("describe", "pod", "new", "-n", namespace)).includes("none of the pool takes new pods now"),
      );
      await expectUndisturbed({ namespace, name: "holder" });
      expect(await messagesSince(start)).not.toContain("Drained: ");
      await kubectl("delete", "pod", "holder", "-n", namespace);
      await waitFor("the end of the drain", async () => (await messagesSince(start)).includes("Drained: "));
    } finally {
      await writeFile(CONFIGURATION, text);
    }
    await waitForSuccess(namespace, "new");
  },
);

scenario.concurrent("a pool server tells the machine's programs which pods use its GPUs", async (namespace) => {
  await startHolder(namespace);
  using channel = connectUnix(join(temporaryFolder("bitfusion-pool-b"), "kubelet.sock"));
  const client = createClient(PodResourcesLister, channel.transport);
  const own = async () => (await client.list({})).podResources.filter((pod) => pod.namespace === namespace);
  const devices = [{ resourceName: "nvidia.com/gpu", deviceIds: ["bitfusion-pool-b:56001/0"] }];
  expect(await own()).toMatchObject([{ name: "holder", containers: [{ name: "main", devices }] }]);
  await kubectl("delete", "pod", "holder", "-n", namespace);
  await waitFor("the end of the lease", async () => (await own()).length === 0);
});
