import { escapeControls, shorten } from "../../program/text/quote.ts";
import type { DeviceAttributes } from "../attributes.ts";
import { createMatcher, type Filter, formatFilter } from "../filter.ts";
import { describeShare, type Share } from "../share.ts";
import { unitsPerGpu } from "../units.ts";

/** A request for units of different GPUs, as a claim makes it. */
export interface GpuRequest {
  /** Number of different GPUs. */
  readonly count: number;
  /** Units of each of them. */
  readonly units: number;
  /** What the container asked for. `units` of a GPU must be enough for it. */
  readonly share: Share;
  readonly filters: readonly Filter[];
  /** Whether all GPUs must be of one server. By default, they may be of several. */
  readonly oneServer?: boolean;
}

/** Whether a request needs several GPUs of one server. */
export function needsOneServer({ count, oneServer = false }: GpuRequest): boolean {
  return oneServer && count > 1;
}

/** The GPUs by server, if a request needs several of one server; else all in one group. */
export function groupForRequest<T extends { readonly attributes: DeviceAttributes }>(
  request: GpuRequest,
  gpus: readonly T[],
): readonly (readonly T[])[] {
  return needsOneServer(request) ? [...Map.groupBy(gpus, ({ attributes }) => attributes.server).values()] : [gpus];
}

/** Returns a function that tells whether a GPU could satisfy the request if nobody held any of it. */
export function createSuitability(request: GpuRequest): (attributes: DeviceAttributes) => boolean {
  const matches = createMatcher(request.filters);
  return (attributes) => hasEnoughMemory(request, attributes.memoryMb) && matches(attributes);
}

/** Whether the units of a request are enough for its share, on a GPU with this memory in MB. */
export function hasEnoughMemory({ share, units }: GpuRequest, gpuMemoryMb: number | undefined): boolean {
  return unitsPerGpu(share, gpuMemoryMb) <= units;
}

/** Describes a request in a message: `60 % of one GPU that matches device.name=T4`. */
export function describeRequest(request: GpuRequest): string {
  const { share, filters } = request;
  const verb = share.gpus === 1 ? "matches" : "match";
  const conditions = shorten(escapeControls(filters.map(formatFilter).join(" and ")));
  const server = needsOneServer(request) ? " of one server" : "";
  return `${describeShare(share)}${server}${filters.length > 0 ? ` that ${verb} ${conditions}` : ""}`;
}
