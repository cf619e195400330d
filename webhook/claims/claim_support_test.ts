import { afterEach, expect, test } from "bun:test";
import type { V1ResourceClaimTemplate } from "@kubernetes/client-node";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { findMissing } from "./claim_support.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server, and asks it. `respond` replaces its response to the dry run. */
async function ask(respond?: (template: V1ResourceClaimTemplate) => Response | undefined) {
  const api = startSimulatedApiServer({
    onRequest: async (request) => respond?.((await request.clone().json()) as V1ResourceClaimTemplate),
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const missing = await findMissing(request, "bitfusion-system", AbortSignal.timeout(4000)).catch(String);
  return { missing, objects: api.store.objects };
}

test("findMissing() finds nothing if the API server keeps the capacity of a request, and writes nothing", async () => {
  const { missing, objects } = await ask();
  expect(missing).toBeUndefined();
  expect(objects.size).toBe(0);
});

test("findMissing() says that the API server drops the capacity", async () => {
  const { missing } = await ask((template) => {
    for (const { exactly } of template.spec.spec.devices?.requests ?? []) delete exactly?.capacity;
    return Response.json(template, { status: 201 });
  });
  expect(missing).toBe("claims by capacity (Kubernetes 1.36 and later)");
});

test("findMissing() says that the API server has no resource.k8s.io/v1", async () => {
  const { missing } = await ask(() => Response.json({ message: "not found" }, { status: 404 }));
  expect(missing).toBe("resource.k8s.io/v1 (Kubernetes 1.34 and later)");
});

test("findMissing() throws any other error, and requests no device of the pool's own class", async () => {
  let deviceClass: string | undefined;
  const { missing } = await ask((template) => {
    deviceClass = template.spec.spec.devices?.requests?.[0]?.exactly?.deviceClassName;
    return Response.json({ message: "etcd is down" }, { status: 503 });
  });
  expect(missing).toContain("etcd is down");
  expect(deviceClass).toBe("detection.bitfusion.io"); // a policy keeps bitfusion.io to the controller
});
