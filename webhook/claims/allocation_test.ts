import { afterEach, expect, test } from "bun:test";
import type { V1ResourceClaimTemplate } from "@kubernetes/client-node";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { silentLog } from "../../program/testing.ts";
import { waitForAllocation } from "./allocation.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server. `respond` replaces its response to the dry run. */
async function start(respond?: (template: V1ResourceClaimTemplate) => Response | undefined) {
  const store = createObjectStore();
  const api = startSimulatedApiServer({
    onRequest: async (request) =>
      respond?.((await request.clone().json()) as V1ResourceClaimTemplate) ?? store.answer(request),
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { resource } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const signal = AbortSignal.timeout(4000);
  return { store, allocation: waitForAllocation(resource, { namespace: "bitfusion-system", log: silentLog, signal }) };
}

test("waitForAllocation() returns claims if the API server keeps the capacity of a request, and writes nothing", async () => {
  const { store, allocation } = await start();
  expect(await allocation).toBe("claims");
  expect(store.objects.size).toBe(0);
});

test("waitForAllocation() returns units if the API server drops the capacity", async () => {
  const { allocation } = await start((template) => {
    for (const { exactly } of template.spec.spec.devices?.requests ?? []) delete exactly?.capacity;
    return Response.json(template, { status: 201 });
  });
  expect(await allocation).toBe("units");
});

test("waitForAllocation() returns units if the API server has no resource.k8s.io/v1", async () => {
  const { allocation } = await start(() => Response.json({ message: "not found" }, { status: 404 }));
  expect(await allocation).toBe("units");
});

test("waitForAllocation() retries after any other error, and requests no device of the pool's own class", async () => {
  const classes: (string | undefined)[] = [];
  const { allocation } = await start((template) => {
    classes.push(template.spec.spec.devices?.requests?.[0]?.exactly?.deviceClassName);
    return classes.length === 1 ? Response.json({ message: "etcd is down" }, { status: 503 }) : undefined;
  });
  expect(await allocation).toBe("claims");
  expect(classes).toEqual(["detection.bitfusion.io", "detection.bitfusion.io"]); // a policy keeps bitfusion.io to the controller
});
