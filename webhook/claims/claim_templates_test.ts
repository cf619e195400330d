import { afterEach, expect, test } from "bun:test";
import type { V1ResourceClaimTemplate } from "@kubernetes/client-node";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { silentLog } from "../../program/testing.ts";
import { detectAllocation } from "./allocation.ts";
import { claimTemplateOf } from "./claim.ts";
import { createClaimTemplates } from "./claim_templates.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const HOUR = 3_600_000;
const TEMPLATES = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates";
const template = claimTemplateOf({ gpus: 1, percent: 50 }, { filters: [], gpuMemoryMb: 16_000 });
const PATH = `${TEMPLATES}/${template.name}`;

/** Starts an API server and one replica, with a clock that the test sets. */
async function start(onRequest?: (request: Request) => Response | undefined) {
  const store = createObjectStore();
  const api = startSimulatedApiServer({ onRequest: (request) => onRequest?.(request) ?? store.answer(request) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const clients = await connectWithKubeconfig(kubeconfigOf(api.url));
  const clock = { time: Date.parse("2026-01-01T00:00:00Z") };
  const replica = () => createClaimTemplates({ ...clients, log: silentLog, now: () => clock.time });
  const written = () => api.requests.filter((request) => !request.startsWith("GET"));
  const lastUsed = () => store.objects.get(PATH)?.metadata?.annotations?.["bitfusion.io/last-used"];
  return { ...store, ...clients, clock, replica, written, lastUsed, templates: replica() };
}

test("ensure() creates a template once, with the label managed-by, for all replicas", async () => {
  const { objects, templates, replica, written } = await start();
  await templates.ensure("team", [template]);
  await templates.ensure("team", [template]);
  await replica().ensure("team", [template]);
  expect(objects.get(PATH)).toMatchObject({
    metadata: { labels: { "app.kubernetes.io/managed-by": "bitfusion-webhook" } },
    spec: { metadata: { annotations: { "bitfusion.io/share": "1x50" } }, spec: template.spec },
  });
  expect(written()).toEqual([`POST ${TEMPLATES}`, `POST ${TEMPLATES}`]); // the second is refused
});

test("ensure() updates when a template was last used, at most once per hour", async () => {
  const { templates, clock, lastUsed } = await start();
  await templates.ensure("team", [template]);
  const first = lastUsed();
  clock.time += HOUR / 2;
  await templates.ensure("team", [template]);
  expect(lastUsed()).toBe(first);
  clock.time += HOUR;
  await templates.ensure("team", [template]);
  expect(lastUsed()).toBe(new Date(clock.time).toISOString());
});

test("ensure() recreates a template that another writer has removed", async () => {
  const { objects, templates, clock } = await start();
  await templates.ensure("team", [template]);
  objects.delete(PATH);
  clock.time += HOUR;
  await templates.ensure("team", [template]);
  expect(objects.has(PATH)).toBe(true);
});

test("ensure() throws errors of the API server, so that no pod is admitted without its template", async () => {
  const { templates } = await start((request) =>
    request.method === "POST" ? Response.json({ message: "exceeded quota" }, { status: 403 }) : undefined,
  );
  expect(await templates.ensure("team", [template]).then(String, String)).toContain("exceeded quota");
});

test("removeUnused() removes templates that no pod requested for a day or references", async () => {
  const { objects, templates, clock } = await start();
  await templates.ensure("team", [template]);
  clock.time += 23 * HOUR;
  await templates.removeUnused();
  expect(objects.has(PATH)).toBe(true);
  clock.time += 2 * HOUR;
  const pod = "/api/v1/namespaces/team/pods/p";
  const resourceClaims = [{ name: "bitfusion-main", resourceClaimTemplateName: template.name }];
  objects.set(pod, { metadata: { name: "p" }, spec: { resourceClaims } } as never);
  await templates.removeUnused();
  expect(objects.has(PATH)).toBe(true);
  objects.delete(pod);
  await templates.removeUnused();
  expect(objects.has(PATH)).toBe(false);
});

test("removeUnused() keeps a template that a pod requests concurrently, and those of other writers", async () => {
  const foreign = `${TEMPLATES}/foreign`;
  let other: (() => Promise<void>) | undefined;
  const { objects, templates, replica, clock, answer } = await start((request) => {
    // Another replica admits a pod between the check and the removal.
    if (request.method !== "DELETE" || !other) return undefined;
    const ensure = other;
    other = undefined;
    return ensure().then(() => answer(request)) as never;
  });
  objects.set(foreign, { metadata: { name: "foreign", creationTimestamp: new Date(0) } });
  await templates.ensure("team", [template]);
  clock.time += 25 * HOUR;
  other = () => replica().ensure("team", [template]);
  await templates.removeUnused();
  expect([...objects.keys()]).toEqual([foreign, PATH]);
});

test("detectAllocation() uses a dry run, and returns units for a dropped field or a missing API", async () => {
  const dropping = (request: Request) => {
    if (request.method !== "POST") return undefined;
    const requests = [{ name: "gpu", exactly: { deviceClassName: "bitfusion.io" } }];
    return Response.json({ metadata: {}, spec: { spec: { devices: { requests } } } } satisfies V1ResourceClaimTemplate);
  };
  const { resource, objects } = await start();
  expect(await detectAllocation(resource, "team")).toBe("claims");
  expect(objects.size).toBe(0);
  expect(await detectAllocation((await start(dropping)).resource, "team")).toBe("units");
  const missing = await start(() => Response.json({ message: "not found" }, { status: 404 }));
  expect(await detectAllocation(missing.resource, "team")).toBe("units");
  const broken = await start(() => Response.json({ message: "etcd is down" }, { status: 500 }));
  expect(await detectAllocation(broken.resource, "team").then(String, String)).toContain("etcd is down");
});
