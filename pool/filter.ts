import { attributeText, type DeviceAttributes } from "./attributes.ts";

/** A condition on the GPUs that a client takes, such as `server.hostname=gpu-1`. */
export interface Filter {
  readonly key: string;
  readonly value: string;
}

/** The filters of the original's client, and the attribute that each compares. */
const ATTRIBUTES: Readonly<Record<string, keyof DeviceAttributes>> = {
  "server.addr": "server",
  "server.hostname": "hostname",
  "server.has-rdma": "hasRdma",
  "server.cuda-version": "cudaVersion",
  "server.driver-version": "driverVersion",
  "device.id": "id",
  "device.name": "model",
  "device.phy-memory": "memoryMb",
};

export const FILTER_KEYS: readonly string[] = Object.keys(ATTRIBUTES);

/** The expected form of a filter, for error messages. */
export const EXPECTED_FILTER = `expected key=value with one of the keys ${FILTER_KEYS.join(", ")}`;

/** Parses `key=value`. Returns undefined if the text has another form or an unknown key. */
export function parseFilter(text: string): Filter | undefined {
  const [, key = "", value = ""] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  return Object.hasOwn(ATTRIBUTES, key) ? { key, value } : undefined;
}

/** The `key=value` form of a filter. */
export function formatFilter({ key, value }: Filter): string {
  return `${key}=${value}`;
}

/** Splits the value of the annotation bitfusion-client/filter: filters are separated by white space. */
export function splitFilters(annotation = ""): string[] {
  return annotation.split(/\s+/).filter(Boolean);
}

/** The attribute that a filter compares, and the text that it must have. An address matches with and without its port. */
export function attributeOfFilter({ key, value }: Filter): { name: keyof DeviceAttributes; text: string } {
  const attribute = Object.hasOwn(ATTRIBUTES, key) ? ATTRIBUTES[key] : undefined;
  if (!attribute) throw new TypeError(`Unknown filter "${key}"`);
  const name = attribute === "server" && !/:\d+$/.test(value) ? "host" : attribute;
  return { name, text: attributeText(name === "host" ? value.replace(/^\[|\]$/g, "") : value) };
}

/** Whether a GPU matches a filter. An unknown attribute does not match. */
export function matchesFilter(filter: Filter, attributes: DeviceAttributes): boolean {
  const { name, text } = attributeOfFilter(filter);
  return attributes[name] !== undefined && String(attributes[name]) === text;
}
