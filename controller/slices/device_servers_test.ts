import { expect, test } from "bun:test";
import { deviceName } from "../../pool/device_name.ts";
import { gpu, server } from "../testing.ts";
import { createDevice } from "./device.ts";
import { serversOf } from "./device_servers.ts";
import { toResourceSlice } from "./slice.ts";

const devices = ["s:1", "s:1", "t:1"].map((address, index) => createDevice(server(address), gpu(String(index))));
const slices = new Map([["bitfusion-0", toResourceSlice({ name: "bitfusion-0", devices })]]);
const key = (id: string, pool = "bitfusion-0") => `${pool}/${deviceName(id)}`;

test.each([
  ["tells each server once", [key("0"), key("1"), key("2")], new Set(["s:1", "t:1"])],
  ["knows nothing of a device that is not published", [key("0"), key("3")], undefined],
  ["knows nothing of a slice that is gone", [key("0", "bitfusion-1")], undefined],
])("serversOf() %s", (_, keys, expected) => {
  expect(serversOf(keys, slices)).toEqual(expected);
});
