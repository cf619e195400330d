import { expect, test } from "bun:test";
import { createRecordingLog } from "../program/testing.ts";
import { readNamespaceOwner } from "./namespace_owner.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";

test("readNamespaceOwner() returns the reference to a namespace once the API server answers, and logs what it waited for", async () => {
  let isDown = true;
  await using api = startSimulatedApiServer({
    onRequest() {
      if (!isDown) return undefined;
      isDown = false;
      return new Response("starting", { status: 503 });
    },
  });
  api.store.put("/api/v1/namespaces/system", { metadata: { uid: "1" } });
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const lines: string[] = [];
  const log = createRecordingLog(lines);
  const signal = AbortSignal.timeout(4000);
  expect(await readNamespaceOwner({ request, namespace: "system", log, signal })).toEqual({
    apiVersion: "v1",
    kind: "Namespace",
    name: "system",
    uid: "1",
  });
  expect(lines).toEqual(["Cannot read the own namespace: GET /api/v1/namespaces/system answered 503: starting"]);
});
