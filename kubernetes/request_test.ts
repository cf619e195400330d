import { afterEach, expect, spyOn, test } from "bun:test";
import { freePort } from "../program/testing.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server that answers with these responses, and then 200. Returns the client and the requests. */
async function start(...responses: (() => Response | Promise<Response>)[]) {
  const api = startSimulatedApiServer({ onRequest: () => responses.shift()?.() ?? Response.json({ items: [] }) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request, core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  return { request, core, requests: api.requests };
}

const never = () => new Promise<Response>(() => {});
const busy = (after: string) => () =>
  Response.json({ message: "too many requests" }, { status: 429, headers: { "Retry-After": after } });
/** A response whose body never ends. */
const unfinished = () =>
  new Response(
    new ReadableStream({
      start: (controller) => controller.enqueue('{"items":['),
      pull: () => new Promise(() => {}),
    }),
  );

test("a request to a port on which nothing listens fails with an error that names the call and the address", async () => {
  const port = await freePort();
  const { request, core } = await connectWithKubeconfig(kubeconfigOf(`http://127.0.0.1:${port}`));
  const reason = `failed: 127.0.0.1:${port} refused the connection`;
  expect(await request("/api/v1/pods").catch(String)).toBe(`Error: GET /api/v1/pods ${reason}`);
  const secret = { namespace: "team", name: "x" };
  expect(await core.readNamespacedSecret(secret).then(String, String)).toBe(
    `Error: GET /api/v1/namespaces/team/secrets/x ${reason}`,
  );
});

test("a request that is not answered within its time limit fails with an error that names the call", async () => {
  const { request } = await start(never);
  const outcome = request("/api/v1/pods", { method: "POST", body: {}, timeout: 50 });
  expect(await outcome.catch(String)).toBe("Error: POST /api/v1/pods was not answered within 0.05 s");
});

test("a request has a time limit of 10 s by default, a call of a typed client too", async () => {
  const { request, core } = await start(never, never);
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  const faster = spyOn(AbortSignal, "timeout").mockImplementation((ms) => timeout(ms / 200));
  cleanups.push(() => faster.mockRestore());
  const reason = "was not answered within 10 s";
  expect(await request("/api/v1/pods").catch(String)).toBe(`Error: GET /api/v1/pods ${reason}`);
  expect(await core.listNamespacedPod({ namespace: "team" }).then(String, String)).toBe(
    `Error: GET /api/v1/namespaces/team/pods ${reason}`,
  );
});

test("a response whose body does not end within the time limit fails with an error that names the call", async () => {
  const { request } = await start(unfinished);
  const response = await request("/api/v1/pods", { timeout: 50 });
  expect(await response.text().catch(String)).toBe("Error: GET /api/v1/pods was not answered within 0.05 s");
});

test("a request whose signal times out fails with an error that names the call", async () => {
  const { request } = await start(never);
  const outcome = request("/api/v1/pods", { signal: AbortSignal.timeout(50) });
  expect(await outcome.catch(String)).toBe("Error: GET /api/v1/pods was not answered in time");
});

test("a request fails with the reason of its signal if the signal is aborted, also while the API server is busy", async () => {
  const { request } = await start(never, busy("5"));
  for (const _ of [1, 2]) {
    const stop = new AbortController();
    const outcome = request("/api/v1/pods", { signal: stop.signal }).catch((error: unknown) => error);
    setTimeout(() => stop.abort(new Error("stopped")), 50);
    expect(await outcome).toEqual(new Error("stopped"));
  }
});

test("a request that the API server is too busy for is sent again after the time in Retry-After", async () => {
  const { request, requests } = await start(busy("0"), busy("0"));
  expect((await request("/api/v1/pods")).status).toBe(200);
  expect(requests).toHaveLength(3);
});

test("a request that is refused with 429 and no Retry-After is not sent again", async () => {
  const { request, requests } = await start(() => Response.json({ message: "a budget" }, { status: 429 }));
  expect(await request("/api/v1/pods").catch(String)).toBe("KubernetesError: GET /api/v1/pods answered 429: a budget");
  expect(requests).toHaveLength(1);
});

test.each([
  ["its time limit", () => ({ timeout: 500 })],
  ["its signal", () => ({ signal: AbortSignal.timeout(50) })],
])("a request is not sent again later than %s allows", async (_, options) => {
  const { request, requests } = await start(busy("2"), busy("2"));
  expect(await request("/api/v1/pods", options()).catch(String)).toBe(
    "KubernetesError: GET /api/v1/pods answered 429: too many requests",
  );
  expect(requests).toHaveLength(1);
});
