import { expect, test } from "bun:test";
import { silentLog } from "../../../program/testing.ts";
import type { Asset } from "../assets.ts";
import { createApp } from "./app.ts";
import { SECURITY_HEADERS } from "./headers.ts";

const asset = (text: string, type: string): Asset => ({ content: new TextEncoder().encode(text), type });
const assets = new Map([
  ["/index.html", asset("<!doctype html>", "text/html; charset=utf-8")],
  ["/page.js", asset("run()", "text/javascript; charset=utf-8")],
]);
const WAY = { namespace: "team", pod: "train", steps: [] };

function createTestApp(open = () => new ReadableStream<Uint8Array>() as ReadableStream<Uint8Array> | undefined) {
  const wayOf = (namespace: string, pod: string) => (namespace === "team" && pod === "train" ? WAY : undefined);
  return createApp({ assets, broadcast: { open }, wayOf, hosts: ["localhost", "[::1]"], log: silentLog });
}

async function get(path: string, { host = "localhost:8080", method = "GET", app = createTestApp() } = {}) {
  return app.fetch(new Request(`http://localhost${path}`, { method, headers: { Host: host } }));
}

test.each([
  ["/", 200, "text/html; charset=utf-8", "<!doctype html>"],
  ["/page.js", 200, "text/javascript; charset=utf-8", "run()"],
  ["/pods/team/train", 200, "application/json;charset=utf-8", JSON.stringify(WAY)],
  ["/pods/team/other", 404, "text/plain; charset=utf-8", "No such pod\n"],
  ["/../main.ts", 404, "text/plain; charset=utf-8", "Not found\n"],
  ["/%2e%2e/main.ts", 404, "text/plain; charset=utf-8", "Not found\n"],
])("GET %s answers %d with %s", async (path, status, type, body) => {
  const response = await get(path);
  expect([response.status, response.headers.get("Content-Type"), await response.text()]).toEqual([status, type, body]);
});

test.each(["/", "/page.js", "/events", "/pods/team/train", "/pods/team/other", "/nothing"])(
  "the response to %s forbids all that the page does not need",
  async (path) => {
    const { headers } = await get(path);
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) expect(headers.get(name)).toBe(value);
    expect(headers.get("Cache-Control")).toBe("no-store");
    const policy = String(headers.get("Content-Security-Policy"));
    expect(policy).toStartWith("default-src 'none'; ");
    expect(policy).not.toMatch(/unsafe|\*|https?:|data:/);
  },
);

test.each([
  ["localhost", 200],
  ["LOCALHOST:18080", 200],
  ["[::1]:8080", 200],
  ["localhost.evil.example", 421],
  ["10.0.0.1:8080", 421],
  ["", 421],
])("a request for the host %j is answered with %d", async (host, status) => {
  const response = await get("/", { host });
  expect(response.status).toBe(status);
  if (status === 421) expect(await response.text()).toContain("expected one of localhost, [::1], as HOSTS says");
});

test("GET /events is a stream of events, or says that there are too many readers", async () => {
  expect((await get("/events")).headers.get("Content-Type")).toBe("text/event-stream");
  const full = await get("/events", { app: createTestApp(() => undefined) });
  expect([full.status, await full.text()]).toEqual([503, "Too many readers\n"]);
});

test.each(["POST", "PUT", "DELETE"])("%s changes nothing: there is no such path", async (method) => {
  expect((await get("/pods/team/train", { method })).status).toBe(404);
});
