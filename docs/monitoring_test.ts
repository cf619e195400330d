import { expect, test } from "bun:test";
import { join } from "node:path";
import { parse } from "yaml";
import { metricsOfPrograms } from "./reference.ts";

const MONITORING = join(import.meta.dir, "../examples/monitoring");
const read = (name: string) => Bun.file(join(MONITORING, name)).text();

const METRICS = new Map(
  Object.values(metricsOfPrograms())
    .flat()
    .map(({ name, type, labelNames }) => [name, { type, labelNames }]),
);

/** The metrics that an expression names, and the values of labels that it selects by. */
function selectorsOf(expression: string): { metric: string; labels: string[] }[] {
  return [...expression.matchAll(/\b(?<!:)(bitfusion_\w+)(?:\{([^}]*)\})?/g)].map(([, metric = "", matchers = ""]) => ({
    metric,
    labels: [...matchers.matchAll(/(\w+)\s*(?:=~|!=|=|!~)/g)].map(([, label = ""]) => label),
  }));
}

interface Rule {
  readonly alert?: string;
  readonly expr: string;
}

test.each([
  [
    "the rules",
    async () => {
      const { groups } = parse(await read("rules.yaml")) as { groups: { rules: Rule[] }[] };
      return groups.flatMap(({ rules }) => rules.map(({ expr }) => expr));
    },
  ],
  [
    "the dashboard",
    async () => {
      const { panels } = JSON.parse(await read("dashboard.json")) as { panels: { targets?: Rule[] }[] };
      return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    },
  ],
])("%s select existing metrics by labels that they have", async (_, expressions) => {
  const selectors = (await expressions()).flatMap(selectorsOf);
  expect(selectors.length).toBeGreaterThan(10);
  for (const { metric, labels } of selectors) {
    const name = METRICS.has(metric) ? metric : metric.replace(/_(bucket|count|sum)$/, "");
    expect([...METRICS.keys()]).toContain(name);
    if (name !== metric) expect(METRICS.get(name)?.type).toBe("histogram");
    expect(METRICS.get(name)?.labelNames).toEqual(expect.arrayContaining(labels));
  }
});

test("each alert has a test", async () => {
  const { groups } = parse(await read("rules.yaml")) as { groups: { rules: Rule[] }[] };
  const { tests } = parse(await read("rules_test.yaml")) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: object[] }[] }[];
  };
  const tested = tests.flatMap((test) => test.alert_rule_test).filter(({ exp_alerts }) => exp_alerts.length > 0);
  const alerts = groups.flatMap(({ rules }) => rules.flatMap(({ alert }) => alert ?? []));
  expect(alerts.sort()).toEqual([...new Set(tested.map(({ alertname }) => alertname))].sort());
});
