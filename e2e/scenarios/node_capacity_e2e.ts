import { expect } from "bun:test";
import { exec } from "../steps/exec.ts";
import { apply, kubectl, NODE_CAPACITY, WORKERS, waitForSuccess, waitForUnits } from "../steps/kubectl.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { expectUndisturbed } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";

const [node] = WORKERS;
const UNITS = "bitfusion.io/gpu";

/** Patches the status of the node. Returns the output, also that of a failure. */
function patchStatus(status: object, ...options: string[]): Promise<string> {
  const patch = ["patch", "node", node, "--subresource=status", "--type=merge", "-p", JSON.stringify({ status })];
  return kubectl(...patch, ...options).catch((error: { output: string }) => error.output);
}

scenario("a node whose units are set to 0, as a kubelet may do, has them again within ten seconds", async () => {
  for (const status of [
    { allocatable: { [UNITS]: "0" } },
    { capacity: { [UNITS]: "0" }, allocatable: { [UNITS]: "0" } },
  ]) {
    await patchStatus(status);
    await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [node], timeout: 10 });
    await waitForUnits("capacity", NODE_CAPACITY, { nodes: [node], timeout: 10 });
  }
});

scenario("a restart of the kubelet ends no pod with units, and the node keeps its capacity", async (namespace) => {
  const containers = [{ name: "main", command: ["sleep", "600"], resources: share(1, 30) }];
  await apply(pod({ namespace, name: "holder", mode: "yes", node, containers }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  await exec(["docker", "exec", node, "systemctl", "restart", "kubelet"]);
  await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
  await waitForSuccess(namespace, "after");
  await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [node], timeout: 10 });
  await expectUndisturbed({ namespace, name: "holder" });
});

scenario("the controller may change nothing of a node's status but its units", async () => {
  const account = "--as=system:serviceaccount:bitfusion-system:bitfusion-controller";
  const options = [account, "--as-group=system:masters", "--dry-run=server"]; // the group, because kubectl reads the node first
  for (const list of ["capacity", "allocatable"]) {
    expect(await patchStatus({ [list]: { [UNITS]: "7" } }, ...options)).toContain("patched");
    for (const change of [{ cpu: "1000" }, { "example.com/other": "1" }, { memory: null }]) {
      expect(await patchStatus({ [list]: change }, ...options)).toContain("The controller may change only");
    }
  }
  for (const status of [{ phase: "Terminated" }, { conditions: [] }, { nodeInfo: { kubeletVersion: "v0" } }]) {
    expect(await patchStatus(status, ...options)).toContain("The controller may change only");
  }
});
