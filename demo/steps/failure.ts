import { type Device, RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { deviceName } from "../../pool/device_name.ts";
import { explain, heading, show, toYaml } from "../print.ts";
import { waitFor } from "../wait_for.ts";
import type { Demo } from "./demo.ts";

/** Kills the last pool server, and starts it again. */
export async function showFailure(number: number, demo: Demo): Promise<void> {
  const server = demo.servers.at(-1);
  if (!server) throw new Error("The demo has no pool server");
  heading(number, "A server fails and returns", `${server.name} is killed. The controller taints its device:`);
  const [gpu] = await server.gpus();
  const device = deviceName(gpu?.id ?? "");
  await server.kill();
  const tainted = await waitForDevice(demo, device, true);
  show(toYaml({ name: tainted.name, taints: tainted.taints }));
  explain(
    `The scheduler gives a device with this taint to no pod. ${server.name} starts again, and the taint is gone:`,
  );
  await server.start();
  const { name, taints = [] } = await waitForDevice(demo, device, false);
  show(toYaml({ name, taints }));
}

/** Waits until a device has a taint, or has none. */
async function waitForDevice({ store, signal }: Demo, name: string, isTainted: boolean): Promise<Device> {
  const find = () =>
    store
      .list<ResourceSlice>(RESOURCE_SLICES)
      .flatMap(({ spec }) => spec.devices ?? [])
      .find((device) => device.name === name && Boolean(device.taints?.length) === isTainted);
  return waitFor(`device ${name} ${isTainted ? "with" : "without"} a taint`, find, signal);
}
