import { create, type UnknownField } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { type ListAndWatchResponse, ListAndWatchResponseSchema } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { type GpuUnits, unitIds } from "./devices.ts";

/**
 * Encodes a list of units GPU by GPU. Creating and encoding 100,000 messages, one per device, would take longer than the kubelet should
 * wait. The protobuf library writes unknown fields as they are.
 */
export function encodeList(gpus: Iterable<GpuUnits>): ListAndWatchResponse {
  const list = create(ListAndWatchResponseSchema);
  list.$unknown = Array.from(gpus, devicesField);
  return list;
}

/** `repeated Device devices = 1` for one GPU. The library writes the first tag. */
function devicesField(gpu: GpuUnits): UnknownField {
  const health = field(2, gpu.healthy ? "Healthy" : "Unhealthy"); // spelled as in the kubelet's constants.go
  const devices = unitIds(gpu).map((id) => field(1, field(1, id) + health));
  return { no: 1, wireType: WireType.LengthDelimited, data: Buffer.from(devices.join("").slice(1), "latin1") };
}

/** A string field of less than 128 ASCII characters: tag, length, content (protobuf.dev/programming-guides/encoding). */
function field(number: number, content: string): string {
  return String.fromCharCode((number << 3) | WireType.LengthDelimited, content.length) + content;
}
