import { attributeText, type DeviceAttributes } from "./device.ts";

/** What a client asks of the GPUs that it takes: `server.hostname=gpu-1`. */
export interface Filter {
  readonly key: string;
  readonly value: string;
}

/** The filters of the original's client, and the attribute of a GPU that each compares. */
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

/** What a filter must look like, for messages. */
export const EXPECTED_FILTER = `expected key=value with one of the keys ${FILTER_KEYS.join(", ")}`;

/** Undefined for a text that is no filter, or has another key. */
export function parseFilter(text: string): Filter | undefined {
  const [, key = "", value = ""] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  return Object.hasOwn(ATTRIBUTES, key) ? { key, value } : undefined;
}

/** As the client's command line and a pod's annotation have it. */
export function filterText({ key, value }: Filter): string {
  return `${key}=${value}`;
}

/** The attribute that a filter compares, and the text that it must have. An address may come without its port. */
export function wantedAttribute({ key, value }: Filter): { name: keyof DeviceAttributes; text: string } {
  const attribute = Object.hasOwn(ATTRIBUTES, key) ? ATTRIBUTES[key] : undefined;
  if (!attribute) throw new TypeError(`Unknown filter "${key}"`);
  const name = attribute === "server" && !/:\d+$/.test(value) ? "host" : attribute;
  return { name, text: attributeText(name === "host" ? value.replace(/^\[|\]$/g, "") : value) };
}

/** Whether a GPU has what a filter asks for. What is not known of it is not there. */
export function matchesFilter(filter: Filter, attributes: DeviceAttributes): boolean {
  const { name, text } = wantedAttribute(filter);
  return attributes[name] !== undefined && String(attributes[name]) === text;
}
