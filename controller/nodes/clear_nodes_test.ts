import { expect, test } from "bun:test";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { clearNodes } from "./clear_nodes.ts";

const LABEL = { "bitfusion.io/driver-ready": "true" };

/** The status of a node with these units. */
function statusOf(capacity: string, allocatable = capacity): Node["status"] {
  return {
    capacity: { cpu: "2", "bitfusion.io/gpu": capacity },
    allocatable: { cpu: "2", "bitfusion.io/gpu": allocatable },
  };
}

/** Clears these nodes. Returns the names of the cleared ones, the requests, and the nodes afterwards. */
async function clear(nodes: Readonly<Record<string, object>>, onRequest?: (request: Request) => Response | undefined) {
  await using api = startSimulatedApiServer({ onRequest });
  for (const [name, node] of Object.entries(nodes)) api.store.put(`${NODES}/${name}`, node);
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const cleared = await clearNodes(request, AbortSignal.timeout(4000)).catch(String);
  return { cleared, requests: api.requests, nodes: api.store.list<Node>(NODES) };
}

test("clearNodes() removes the label and the controller's capacity, and nothing else", async () => {
  const { cleared, requests, nodes } = await clear({
    ready: { metadata: { labels: { zone: "1", ...LABEL } }, status: statusOf("1G") },
    away: { metadata: { labels: { zone: "1" } }, status: statusOf("1000000000", "0") },
    other: { metadata: {}, status: { capacity: { cpu: "2" }, allocatable: { cpu: "2" } } },
  });
  expect(cleared).toEqual(["ready", "away"]);
  const bare = { capacity: { cpu: "2" }, allocatable: { cpu: "2" } };
  expect(nodes.map(({ status }) => status)).toEqual([bare, bare, bare]);
  expect(nodes.map(({ metadata }) => metadata.labels)).toEqual([{ zone: "1" }, { zone: "1" }, undefined]);
  expect(requests.filter((each) => each.includes("/other"))).toEqual([]);
});

test.each(["300", "0"])("clearNodes() leaves a capacity of %s to the kubelet", async (units) => {
  const { cleared, requests } = await clear({ a: { metadata: {}, status: statusOf(units) } });
  expect(cleared).toEqual([]);
  expect(requests).toEqual([`GET ${NODES}`]);
});

test("clearNodes() fails after it has tried all nodes, if one cannot be changed", async () => {
  const { cleared, nodes } = await clear(
    { a: { metadata: { labels: LABEL } }, b: { metadata: { labels: LABEL } } },
    ({ method, url }) => (method === "PATCH" && url.endsWith("/a") ? new Response("no", { status: 500 }) : undefined),
  );
  expect(cleared).toContain(`PATCH ${NODES}/a answered 500`);
  expect(nodes.map(({ metadata }) => metadata.labels)).toEqual([LABEL, {}]);
});
