import { expect, test } from "bun:test";
import fc from "fast-check";
import { claim, device, pod, slice } from "../../view/testing.ts";
import { forbidden, startCluster } from "../testing.ts";
import { parseWarnings } from "./submit.ts";
import { readManifests } from "./templates.ts";

/** Three GPUs, of which one has 40 units left. */
const CLUSTER = {
  slices: [slice("bitfusion-0", [device("gpu-1", "a:1"), device("gpu-2", "a:1"), device("gpu-3", "b:1")])],
  claims: [claim("train", { units: 60, held: [["bitfusion-0/gpu-1", 60]], ready: "True" })],
  pods: [pod("train", { share: "1x60", node: "node-1", phase: "Running" })],
};

interface Share {
  gpus?: number;
  percent: number;
}

const template = ({ gpus = 1, percent }: Share) => ({
  metadata: { labels: { app: "x" }, annotations: { "auto-management/bitfusion": "yes" } },
  spec: {
    containers: [
      {
        name: "main",
        image: "x",
        resources: { limits: { "bitfusion.io/gpu-num": gpus, "bitfusion.io/gpu-percent": percent } },
      },
    ],
  },
});
const job = (share: Share, spec = {}) => ({
  apiVersion: "batch/v1",
  kind: "Job",
  metadata: { name: "train" },
  spec: { ...spec, template: template(share) },
});
const deployment = (share: Share, replicas: number) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "llm" },
  spec: { replicas, template: template(share) },
});

interface Created {
  metadata: { name?: string; annotations?: Record<string, string> };
  spec: { containers: { resources: { limits: Record<string, number> } }[] };
}

/** Admits objects, and pods as the webhook does; a share of 0 percent is refused. */
async function admit(request: Request): Promise<Response | undefined> {
  const { pathname, searchParams } = new URL(request.url);
  if (request.method === "GET") return undefined;
  if (searchParams.get("dryRun") !== "All") throw new Error(`${request.method} ${pathname} is no dry run`);
  const object = (await request.json()) as Created;
  if (request.method === "PATCH") return Response.json(object);
  const { limits } = object.spec.containers[0]?.resources ?? { limits: {} };
  const { "bitfusion.io/gpu-num": gpus = 0, "bitfusion.io/gpu-percent": percent = 0 } = limits;
  if (gpus === 0) return Response.json(object);
  if (percent === 0) return forbidden('admission webhook "inject.bitfusion.io" denied the request: percent is 0');
  const own = { name: "x", containers: ["main"], share: `${gpus}x${percent}`, units: percent, client: "simulated" };
  const annotations = { "bitfusion.io/claims": JSON.stringify([own]) };
  const counted = { limits: { "bitfusion.io/gpu": String(gpus * percent) } };
  const admitted = {
    metadata: { ...object.metadata, annotations },
    spec: { containers: [{ ...object.spec.containers[0], resources: counted }] },
  };
  return Response.json(admitted, { headers: { Warning: '299 - "it is \\"simulated\\""' } });
}

async function fits(objects: object[], options: { quota?: [used: number, hard: number]; args?: string } = {}) {
  await using cluster = startCluster(CLUSTER, admit);
  const { quota, args = "" } = options;
  if (quota) {
    const [used, hard] = quota.map((units) => ({ "requests.bitfusion.io/gpu": String(units) }));
    cluster.api.store.put("/api/v1/namespaces/team/resourcequotas/gpus", { status: { used, hard } });
  }
  const input = objects.map((object) => JSON.stringify(object)).join("\n---\n");
  return await cluster.run(`fits -f -${args}`, { input });
}

test("fits tells that a Job is admitted and finds room, with the warnings of the webhook", async () => {
  expect(await fits([job({ percent: 100 }, { parallelism: 2 })])).toEqual({
    status: 0,
    stdout: `✓ job/train in the namespace team: fits (2 pods)
  Each pod asks for 100 % of one GPU for main
  All 2 pods find room now
  Warning: it is "simulated"
`,
    stderr: "",
  });
});

test("fits ends with 2 if pods would wait, and says how many find room", async () => {
  const { status, stdout } = await fits([deployment({ percent: 50 }, 6)]);
  expect(status).toBe(2);
  expect(stdout).toContain("… deployment/llm in the namespace team: waits (6 pods)\n");
  expect(stdout).toContain("4 of 6 pods find room now\n");
  const whole = await fits([job({ gpus: 3, percent: 100 })]);
  expect(whole.stdout).toContain(
    "0 of 1 pods find room now: a pod needs 100 % of each of 3 different GPUs; only 2 have that now: the freest have 100 % and 100 % and 40 %",
  );
});

test("fits places the pods of all objects of a file together", async () => {
  const { status, stdout } = await fits([job({ percent: 100 }, { parallelism: 2 }), deployment({ percent: 60 }, 1)]);
  expect(status).toBe(2);
  expect(stdout).toContain("✓ job/train");
  expect(stdout).toContain("0 of 1 pods find room now");
});

test("fits ends with 3 if the webhook refuses the pods, and shows what it says", async () => {
  const { status, stdout } = await fits([job({ percent: 0 })]);
  expect(status).toBe(3);
  expect(stdout).toContain("✗ job/train in the namespace team: refused");
  expect(stdout).toContain(
    'Its pods are refused: admission webhook "inject.bitfusion.io" denied the request: percent is 0',
  );
});

test("fits counts the quota for all pods", async () => {
  const { status, stdout } = await fits([deployment({ percent: 50 }, 3)], { quota: [60, 200] });
  expect(status).toBe(2);
  expect(stdout).toContain("The quota gpus admits 2 of 3 pods: 140 of 200 units are left, and each pod counts 50\n");
});

test("fits passes over what asks for no GPU, and prints JSON", async () => {
  const service = { apiVersion: "v1", kind: "Service", metadata: { name: "llm" } };
  const list = { apiVersion: "v1", kind: "List", items: [service, job({ gpus: 0, percent: 0 })] };
  const { status, stdout } = await fits([list], { args: " -o json" });
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    kind: "Fits",
    verdicts: [{ name: "job/train", outcome: "none", pods: 1 }],
    ignored: ["service/llm"],
  });
});

test("fits does not claim room that it cannot see", async () => {
  await using cluster = startCluster(CLUSTER, (request) =>
    request.url.includes("/resourceclaims") ? forbidden("no") : admit(request),
  );
  const { status, stdout } = await cluster.run("fits -f -", { input: JSON.stringify(job({ percent: 10 })) });
  expect(status).toBe(1);
  expect(stdout).toContain("You may not read the whole pool: whether it has room is not known");
});

test("fits names the right that is missing, and the field of a manifest that is wrong", async () => {
  const rbac = 'jobs.batch "train" is forbidden: User "jane" cannot patch resource "jobs"';
  await using cluster = startCluster(CLUSTER, ({ method }) => (method === "GET" ? undefined : forbidden(rbac)));
  const run = async (input: string) => (await cluster.run("fits -f -", { input })).stderr;
  expect(await run(JSON.stringify(job({ percent: 10 })))).toStartWith(
    `error: Cannot apply job/train in a dry run: you lack the right (${rbac})`,
  );
  expect(await run("kind: Job")).toBe("error: Cannot use object 1 of the file: apiVersion is not set\n");
  expect(await run("a: [")).toStartWith("error: Cannot read object 1 of the file: Flow sequence");
  expect(await run("")).toBe("error: The file has no objects: expected manifests in YAML or JSON\n");
  expect((await cluster.run("fits -f /nowhere")).stderr).toStartWith("error: Cannot read -f /nowhere: ENOENT");
});

test.each([
  ["parallelism: 4\n  completions: 3", 3],
  ["suspend: true", 0],
  ["{}", 1],
])("readManifests() counts the pods of a Job with %j", (spec, count) => {
  const text = `apiVersion: batch/v1\nkind: Job\nmetadata: { name: x }\nspec:\n  ${spec === "{}" ? "template: {}" : `${spec}\n  template: {}`}`;
  expect(readManifests(text, "team").workloads.map(({ template }) => template?.count)).toEqual([count]);
});

test("parseWarnings() reads any texts of a Warning header", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1 }), { maxLength: 3 }), (texts) => {
      const header = texts.map((text) => `299 - "${text.replace(/(["\\])/g, "\\$1")}"`).join(", ");
      expect(parseWarnings(header)).toEqual(texts);
    }),
    { numRuns: 100 },
  );
});
