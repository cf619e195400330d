import { expect, test } from "bun:test";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { serveGrpc } from "../../grpc/server.ts";
import { createRecordingLog } from "../../program/testing.ts";
import { type ContainerResourcesSchema, PodResourcesLister } from "../../proto/gen/podresources/v1/api_pb.ts";
import { forgetLeftoverUnits, readHeldUnits } from "./held_units.ts";

const RESOURCE = "bitfusion.io/gpu";

function container(name: string, devices: Record<string, string[]>): MessageInitShape<typeof ContainerResourcesSchema> {
  const lists = Object.entries(devices).map(([resourceName, deviceIds]) => ({ resourceName, deviceIds }));
  return { name, devices: lists };
}

test("readHeldUnits() returns the units of each container, and omits containers without units", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "held-"));
  const path = join(folder.path, "kubelet.sock");
  const podResources = [
    {
      namespace: "team",
      name: "training",
      containers: [
        container("main", { [RESOURCE]: ["a-00", "a-01"], "nvidia.com/gpu": ["x"] }),
        container("side", { [RESOURCE]: ["a-02"] }),
        container("idle", { "nvidia.com/gpu": ["y"] }),
      ],
    },
    { namespace: "team", name: "web", containers: [container("main", {})] },
  ];
  await using _kubelet = await serveGrpc({
    listen: { path },
    routes: (router) => router.service(PodResourcesLister, { list: () => ({ podResources }) }),
  });
  expect(await readHeldUnits(path, RESOURCE)).toEqual([
    { namespace: "team", pod: "training", container: "main", units: 2 },
    { namespace: "team", pod: "training", container: "side", units: 1 },
  ]);
});

test("readHeldUnits() adds up the lists of a container: the kubelet sends one per NUMA node", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "held-"));
  const path = join(folder.path, "kubelet.sock");
  const devices = [["a-00"], ["a-01", "a-02"]].map((deviceIds) => ({ resourceName: RESOURCE, deviceIds }));
  await using _kubelet = await serveGrpc({
    listen: { path },
    routes: (router) =>
      router.service(PodResourcesLister, {
        list: () => ({ podResources: [{ namespace: "n", name: "p", containers: [{ name: "c", devices }] }] }),
      }),
  });
  expect(await readHeldUnits(path, RESOURCE)).toEqual([{ namespace: "n", pod: "p", container: "c", units: 3 }]);
});

test("readHeldUnits() throws an error with the socket's path when no kubelet responds", async () => {
  expect(await readHeldUnits("/nowhere/kubelet.sock", RESOURCE).then(String, String)).toContain(
    "/nowhere/kubelet.sock",
  );
});

test("forgetLeftoverUnits() asks the kubelet until no pod holds units of a device plugin, and says what the node waits for", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "held-"));
  const path = join(folder.path, "kubelet.sock");
  const holder = { namespace: "n", name: "p", containers: [container("c", { [RESOURCE]: ["a-00"] })] };
  let calls = 0;
  const freed = Promise.withResolvers<void>();
  await using _kubelet = await serveGrpc({
    listen: { path },
    routes: (router) =>
      router.service(PodResourcesLister, {
        list() {
          if (++calls === 3) freed.resolve();
          return { podResources: calls < 3 ? [holder] : [] };
        },
      }),
  });
  const lines: string[] = [];
  const stop = new AbortController();
  const options = { socket: path, resourceName: RESOURCE, log: createRecordingLog(lines), period: 5, duration: 0 };
  const ended = forgetLeftoverUnits(options, stop.signal);
  await freed.promise;
  stop.abort();
  await ended;
  expect(calls).toBe(3);
  expect(lines).toEqual([
    "The node takes no new pods with a share until those with units of the device plugin have ended: undefined",
  ]);
});

test("forgetLeftoverUnits() says once that the kubelet does not answer, and asks again", async () => {
  const lines: string[] = [];
  const options = {
    socket: "/nowhere/kubelet.sock",
    resourceName: RESOURCE,
    log: createRecordingLog(lines),
    period: 5,
  };
  await forgetLeftoverUnits(options, AbortSignal.timeout(200));
  expect(lines).toEqual([expect.stringContaining("Cannot ask the kubelet which pods hold units: ")]);
});
