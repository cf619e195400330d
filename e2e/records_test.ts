import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { CLUSTER_CONFIG } from "./cluster/cluster.ts";
import { recordRequests } from "./cluster/records.ts";
import { readManifests } from "./steps/manifests.ts";

const config = parse(recordRequests(await readFile(CLUSTER_CONFIG, "utf8")));
const patches = config.kubeadmConfigPatches.map((text: string) => parse(text));

test("recordRequests() leaves the workers of the cluster as they are, and mounts the audit policy where the API server reads it", async () => {
  const [controlPlane, ...workers] = config.nodes;
  expect(workers).toEqual(parse(await readFile(CLUSTER_CONFIG, "utf8")).nodes.slice(1));
  const [{ hostPath, containerPath }] = controlPlane.extraMounts;
  expect(existsSync(hostPath)).toBe(true);
  for (const { apiServer } of patches) {
    expect(JSON.stringify(apiServer.extraArgs)).toContain(`"${containerPath}"`);
    const [{ mountPath }] = apiServer.extraVolumes;
    expect(containerPath).toStartWith(`${mountPath}/`);
  }
});

test("the audit policy records each program", async () => {
  const { rules } = parse(await readFile("e2e/cluster/audit_policy.yaml", "utf8"));
  const namespaces = (await readManifests(".")).filter(({ kind }) => kind === "ServiceAccount");
  const groups = namespaces.map(({ metadata: { namespace } }) => `system:serviceaccounts:${namespace}`);
  expect(rules[0].userGroups.sort()).toEqual([...new Set(groups)].sort());
});
