import { expect, test } from "bun:test";
import { device, pod, slice } from "../../view/testing.ts";
import { startCluster } from "../testing.ts";

const CLUSTER = {
  slices: [slice("bitfusion-0", [device("gpu-1", "a:1"), device("gpu-2", "b:1")])],
  pods: [pod("train"), pod("try")],
};

/** The candidates for the last word, and the directive. */
async function completed(words: string[]) {
  await using cluster = startCluster(CLUSTER);
  const { stdout } = await cluster.complete(words);
  return stdout.trimEnd().split("\n");
}

test("completion offers commands, options and the values of options", async () => {
  expect(await completed(["p"])).toEqual(["pool", "pods", ":4"]);
  expect(await completed([""])).not.toContain("__complete");
  expect(await completed(["pool", "--wa"])).toEqual(["--watch", ":4"]);
  expect(await completed(["pool", "-o", ""])).toEqual(["wide", "json", "yaml", "name", ":4"]);
  expect(await completed(["completion", "z"])).toEqual(["zsh", ":4"]);
  expect(await completed(["pool", "--kubeconfig", ""])).toEqual([":0"]);
});

test("completion offers what the cluster knows, and nothing if it does not answer", async () => {
  expect(await completed(["cordon", ""])).toEqual(["a:1", "a:1/gpu-1", "b:1", "b:1/gpu-2", ":4"]);
  expect(await completed(["cordon", "--context", ""])).toEqual(["simulated", ":4"]);
  expect(await completed(["cordon", "--context", "none", ""])).toEqual([":4"]);
});

test("completion prints a script for each shell, which the shell can read", async () => {
  await using cluster = startCluster({});
  for (const shell of ["bash", "zsh", "fish"]) {
    const { status, stdout } = await cluster.run(`completion ${shell}`);
    expect([status, stdout.includes("kubectl-bitfusion")]).toEqual([0, true]);
  }
  expect((await cluster.run("completion tcsh")).status).toBe(1);
});
