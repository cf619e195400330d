// The rules and the dashboard of examples/monitoring, checked by Prometheus's own tool. It needs no cluster.
import { beforeAll, expect, test } from "bun:test";
import { chmod, copyFile, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { buildTarget } from "../cluster/images.ts";
import { exec } from "../steps/exec.ts";

const IMAGE = "bitfusion-e2e-promtool:0.1.0";
const FOLDER = "examples/monitoring";

/** The image is downloaded and built once. */
const BUILD_TIMEOUT = 600_000;

beforeAll(() => buildTarget(IMAGE, "promtool"), BUILD_TIMEOUT);

/** Runs promtool on files of a folder. Rejects with its output if it finds something. */
function promtool(folder: string, ...args: string[]): Promise<string> {
  return exec(["docker", "run", "--rm", "--network=none", "-v", `${folder}:/monitoring:ro`, IMAGE, ...args]);
}

test("promtool accepts the rules, and their tests pass", async () => {
  const folder = join(process.cwd(), FOLDER);
  expect(await promtool(folder, "check", "rules", "rules.yaml")).toContain("SUCCESS");
  expect(await promtool(folder, "test", "rules", "rules_test.yaml")).toContain("SUCCESS");
});

test("the tests of the rules fail if an alert comes too late", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "monitoring-"));
  const rules = await Bun.file(join(FOLDER, "rules.yaml")).text();
  await writeFile(join(folder.path, "rules.yaml"), rules.replaceAll("for: 5m", "for: 50m"));
  await copyFile(join(FOLDER, "rules_test.yaml"), join(folder.path, "rules_test.yaml"));
  await chmod(folder.path, 0o755); // promtool is another user
  expect(await promtool(folder.path, "test", "rules", "rules_test.yaml").catch(String)).toContain("FAILED");
});

test("promtool accepts the expressions of the dashboard", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "monitoring-"));
  const { panels } = (await Bun.file(join(FOLDER, "dashboard.json")).json()) as {
    panels: { targets?: { expr: string }[] }[];
  };
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  expect(expressions.length).toBeGreaterThan(20);
  const rules = expressions.map((expr, index) => ({ record: `panel:${index}`, expr: withoutVariables(expr) }));
  await writeFile(join(folder.path, "panels.yaml"), stringify({ groups: [{ name: "panels", rules }] }));
  await chmod(folder.path, 0o755); // promtool is another user
  expect(await promtool(folder.path, "check", "rules", "panels.yaml")).toContain(`${rules.length} rules found`);
});

/** An expression with what Grafana puts in place of its variables. */
function withoutVariables(expression: string): string {
  return expression.replaceAll("$__rate_interval", "1m").replaceAll("$__range", "6h").replaceAll("$client", ".*");
}
