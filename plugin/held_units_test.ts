import { expect, test } from "bun:test";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { serveGrpc } from "../grpc/server.ts";
import { type ContainerResourcesSchema, PodResourcesLister } from "../proto/gen/podresources/v1/api_pb.ts";
import { readHeldUnits } from "./held_units.ts";

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
