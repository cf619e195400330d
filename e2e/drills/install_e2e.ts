import { expect } from "bun:test";
import { DELETE, INSTALL, ROLLOUT, WITHDRAW } from "../cluster/commands.ts";
import { addClient } from "../cluster/install.ts";
import { findLeftovers } from "../records/leftovers.ts";
import { type ExecError, exec } from "../steps/exec.ts";
import { apply, get, kubectl, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { pod, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

/** Uninstalling and installing again take longer than other scenarios, in ms. */
const TIMEOUT = 420_000;

/** What an administrator has created besides the manifests. */
const OWN = "Secret kube-system/bitfusion-secret";

const run = (command: string) => exec(command.split(" "));

/** Also after a failure: the other tests need the programs. */
async function installAgain(): Promise<void> {
  await run(INSTALL);
  await addClient();
  for (const command of ROLLOUT) await run(command);
}

/** Namespaces of earlier tests are deleted in the background. */
async function waitForOtherNamespaces(namespace: string): Promise<void> {
  await waitFor("the deletion of the namespaces of earlier tests", async () => {
    const names = (await kubectl("get", "namespaces", "-o", "name")).split("\n");
    return names.every((name) => !name.startsWith("namespace/e2e-") || name === `namespace/${namespace}`);
  });
}

/** Waits until the cluster has only this of the project. */
async function expectLeftovers(...expected: string[]): Promise<void> {
  let leftovers: string[] = [];
  const isExpected = async () => {
    leftovers = await findLeftovers();
    return leftovers.length === expected.length;
  };
  await waitFor("the end of the programs", isExpected).catch(() => {}); // below, the error names what is left
  expect(leftovers).toEqual(expected);
}

async function startHolder(namespace: string): Promise<void> {
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 30, command: ["sleep", "3600"] }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
}

scenario(
  "uninstalling is refused while a pod holds a GPU; then nothing is left, and installing again works",
  async (namespace) => {
    await waitForOtherNamespaces(namespace);
    await startHolder(namespace);
    const refusal: ExecError = await run(WITHDRAW).catch((error) => error);
    expect(refusal.output).toContain(`pod ${namespace}/holder`);
    expect((await get<{ items: object[] }>("resourceslices")).items).toHaveLength(1);
    await kubectl("delete", "pod", "holder", "-n", namespace);
    expect(await run(WITHDRAW)).toContain("The pool is withdrawn.");
    await run(DELETE);
    try {
      await expectLeftovers(OWN);
    } finally {
      await installAgain();
    }
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 30 }));
    await waitForSuccess(namespace, "after");
  },
  { timeout: TIMEOUT },
);

scenario(
  "if the manifests are deleted while a pod holds a GPU, only that pod cannot end, until they are installed again",
  async (namespace) => {
    await waitForOtherNamespaces(namespace);
    await startHolder(namespace);
    await run(DELETE);
    await waitFor("the deletion of the slices with their owner", async () => {
      return (await kubectl("get", "resourceslices", "-o", "name")) === "";
    });
    await kubectl("delete", "pod", "holder", "-n", namespace, "--wait=false");
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready=False", "--timeout=120s");
    await apply(pod({ namespace, name: "ordinary", containers: [{ name: "main", command: ["true"] }] }));
    await waitForSuccess(namespace, "ordinary");
    const { metadata } = await get<{ metadata: { deletionTimestamp?: string } }>("pod", "holder", "-n", namespace);
    expect(metadata.deletionTimestamp).toBeString();
    await installAgain();
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=delete", "--timeout=60s");
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 30 }));
    await waitForSuccess(namespace, "after");
  },
  { timeout: TIMEOUT },
);
