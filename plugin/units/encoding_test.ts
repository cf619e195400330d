import { expect, test } from "bun:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ListAndWatchResponseSchema } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { unitIds } from "./devices.ts";
import { encodeList } from "./encoding.ts";

test("encodeList() encodes the list of all devices, with the kubelet's spelling of health", () => {
  const gpus = [
    { server: "a:1", name: "0a1b2c3d", count: 100, healthy: true },
    { server: "a:1", name: "zzzzzzzz", count: 1, healthy: false },
  ];
  const { devices, $unknown } = fromBinary(
    ListAndWatchResponseSchema,
    toBinary(ListAndWatchResponseSchema, encodeList(gpus)),
  );
  expect(devices.map(({ ID, health }) => [ID, health])).toEqual(
    gpus.flatMap((gpu) => unitIds(gpu).map((id) => [id, gpu.healthy ? "Healthy" : "Unhealthy"])),
  );
  expect($unknown).toBeUndefined();
});

test("encodeList() encodes no GPUs as an empty list", () => {
  expect(toBinary(ListAndWatchResponseSchema, encodeList([]))).toHaveLength(0);
});
