import { expect, test } from "bun:test";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { silentLog } from "../../program/testing.ts";
import { removeOldTemplates } from "./old_templates.ts";

test("removeOldTemplates() removes the webhook's templates that were not used for two hours, and no others", async () => {
  const store = createObjectStore();
  const done = Promise.withResolvers<void>();
  await using api = startSimulatedApiServer({
    onRequest: async (request) => {
      const response = await store.answer(request);
      if (request.method === "DELETE") done.resolve();
      return response;
    },
  });
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const path = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates";
  const put = (name: string, creator: string, used: string) =>
    store.put(`${path}/${name}`, {
      metadata: {
        labels: { "app.kubernetes.io/managed-by": creator },
        annotations: { "bitfusion.io/last-used": used },
      },
    });
  put("recent", "bitfusion-webhook", "2026-01-01T10:00:01Z");
  put("foreign", "helm", "2026-01-01T00:00:00Z");
  put("old", "bitfusion-webhook", "2026-01-01T09:59:59Z");
  const stop = new AbortController();
  const now = () => Date.parse("2026-01-01T12:00:00Z");
  const ended = removeOldTemplates({ request, log: silentLog, now }, stop.signal);
  await done.promise;
  stop.abort();
  await ended;
  expect([...store.objects.keys()].sort()).toEqual([`${path}/foreign`, `${path}/recent`]);
});
