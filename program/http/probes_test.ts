import { expect, test } from "bun:test";
import { Gauge, Registry } from "prom-client";
import { serveProbes } from "./probes.ts";

test("serveProbes() serves /livez, /readyz with what is missing, and /metrics, and responds 404 to other paths", async () => {
  const metrics = new Registry();
  new Gauge({ name: "units", help: "Units.", registers: [metrics] }).set(7);
  let missing: string | undefined = "Not registered with the kubelet";
  await using probes = await serveProbes({ port: 0, notReady: () => missing, metrics });
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${probes.port}${path}`);
    return [response.status, await response.text()];
  };
  expect(await get("/livez")).toEqual([200, "ok\n"]);
  expect(await get("/readyz")).toEqual([503, "Not registered with the kubelet\n"]);
  missing = undefined;
  expect(await get("/readyz")).toEqual([200, "ok\n"]);
  expect(await get("/metrics")).toEqual([200, expect.stringContaining("\nunits 7\n")]);
  expect(await get("/")).toEqual([404, "Not found\n"]);
});

test("serveProbes() serves metrics with the content type of the Prometheus text format", async () => {
  await using probes = await serveProbes({ port: 0, notReady: () => undefined, metrics: new Registry() });
  const response = await fetch(`http://127.0.0.1:${probes.port}/metrics`);
  expect(response.headers.get("Content-Type")).toStartWith("text/plain; version=0.0.4");
});

test("disposal of serveProbes() frees the port", async () => {
  const options = { notReady: () => undefined, metrics: new Registry() };
  const first = await serveProbes({ port: 0, ...options });
  await fetch(`http://127.0.0.1:${first.port}/livez`);
  await first[Symbol.asyncDispose]();
  await using second = await serveProbes({ port: first.port, ...options });
  expect((await fetch(`http://127.0.0.1:${second.port}/livez`)).status).toBe(200);
});
