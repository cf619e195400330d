/* An API server that keeps a record of the writes of ResourceSlices. It writes an ApiAddress, a line. */

import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { attributesOfDevice } from "../../pool/attributes.ts";
import { isTainted } from "../../pool/requests/supply.ts";

/** The first line that the process writes. */
export interface ApiAddress {
  readonly url: string;
}

/** A line that the process writes for each line on standard input: a number of writes that are known already. */
export interface ApiReport {
  /** All requests so far: how many for each method and resource. */
  readonly requests: Readonly<Record<string, number>>;
  /** The other writes of slices so far. */
  readonly writes: readonly SliceWritten[];
}

export interface SliceWritten {
  /** In ms since the epoch. */
  readonly at: number;
  readonly name: string;
  /** Size of the body, in bytes. */
  readonly bytes: number;
  readonly devices: readonly WrittenDevice[];
}

export interface WrittenDevice {
  /** The name of its server. */
  readonly hostname: string;
  readonly isTainted: boolean;
}

if (import.meta.main) {
  const store = createObjectStore();
  store.put("/api/v1/namespaces/bitfusion-system", { metadata: { uid: "bench" } });
  const writes: SliceWritten[] = [];
  const requests: Record<string, number> = {};
  const api = startSimulatedApiServer({
    async onRequest(request) {
      const { pathname, searchParams } = new URL(request.url);
      const [, resource = pathname] = /\/(?:v1|v1beta1)\/(?:namespaces\/[^/]+\/)?([a-z]+)/.exec(pathname) ?? [];
      const verb = searchParams.get("watch") ? "WATCH" : request.method;
      requests[`${verb} ${resource}`] = (requests[`${verb} ${resource}`] ?? 0) + 1;
      const isWrite = request.method !== "GET" && pathname.startsWith(RESOURCE_SLICES) && !searchParams.has("dryRun");
      const body = isWrite && request.method !== "DELETE" ? await request.clone().text() : undefined;
      const response = await store.answer(request);
      if (body !== undefined && response?.ok) writes.push(readWrite(body));
      return response;
    },
  });
  write({ url: api.url } satisfies ApiAddress);
  for await (const line of console) write({ requests, writes: writes.slice(Number(line)) } satisfies ApiReport);
  process.exit();
}

function readWrite(body: string): SliceWritten {
  const { metadata, spec } = JSON.parse(body) as ResourceSlice;
  const devices = (spec.devices ?? []).map((device) => ({
    hostname: attributesOfDevice(device).hostname ?? "",
    isTainted: isTainted(device),
  }));
  return { at: Date.now(), name: metadata.name, bytes: Buffer.byteLength(body), devices };
}

function write(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
