import { attributeText, type DeviceAttributes } from "./attributes.ts";

/** A condition that GPUs must meet, such as `server.hostname=gpu-1`. */
export interface Filter {
  readonly key: string;
  readonly value: string;
}

/** The attribute that each filter compares. */
const ATTRIBUTES: Readonly<Record<string, keyof DeviceAttributes>> = {
  "server.addr": "server",
  "server.hostname": "hostname",
  "server.has-rdma": "hasRdma",
  "server.cuda-version": "cudaVersion",
  "server.driver-version": "driverVersion",
  "server.data-plane": "dataPlane",
  "server.data-plane-build": "dataPlaneBuild",
  "device.id": "id",
  "device.name": "model",
  "device.phy-memory": "memoryMb",
  "device.isolation": "isolation",
};

/** The keys that filters may have. */
export const FILTER_KEYS: readonly string[] = Object.keys(ATTRIBUTES);

/** The expected form of a filter, for error messages. */
export const EXPECTED_FILTER = `expected key=value with one of the keys ${FILTER_KEYS.join(", ")}`;

/** Longest filter of a claim, in characters. */
export const MAX_FILTER_LENGTH = 512;

/** Parses `key=value`. Returns undefined if the text has another form or an unknown key. */
export function parseFilter(text: string): Filter | undefined {
  const [, key = "", value = ""] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  return Object.hasOwn(ATTRIBUTES, key) ? { key, value } : undefined;
}

/** Formats a filter as `key=value`. */
export function formatFilter({ key, value }: Filter): string {
  return `${key}=${value}`;
}

/** Splits the value of the annotation bitfusion-client/filter at white space. */
export function splitFilters(annotation = ""): string[] {
  return annotation.split(/\s+/).filter(Boolean);
}

/**
 * Returns the attribute that a filter compares, and the value that it must have. A server address without a port
 * compares the host.
 *
 * @throws {TypeError} if the key is unknown.
 */
export function attributeOfFilter({ key, value }: Filter): { name: keyof DeviceAttributes; text: string } {
  const attribute = Object.hasOwn(ATTRIBUTES, key) ? ATTRIBUTES[key] : undefined;
  if (!attribute) throw new TypeError(`Unknown filter "${key}"`);
  const name = attribute === "server" && !/:\d+$/.test(value) ? "host" : attribute;
  return { name, text: attributeText(name === "host" ? value.replace(/^\[|\]$/g, "") : value) };
}

/** Whether a GPU matches a filter. An unknown attribute does not match. */
export function matchesFilter(filter: Filter, attributes: DeviceAttributes): boolean {
  return createMatcher([filter])(attributes);
}

/** Returns a function that tells whether a GPU matches all filters. It is faster than {@link matchesFilter} for many GPUs. */
export function createMatcher(filters: readonly Filter[]): (attributes: DeviceAttributes) => boolean {
  const conditions = filters.map(attributeOfFilter);
  return (attributes) =>
    conditions.every(({ name, text }) => attributes[name] !== undefined && String(attributes[name]) === text);
}
