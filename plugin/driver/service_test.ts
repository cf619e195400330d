import { expect, test } from "bun:test";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { Registry } from "prom-client";
import { createKeyedMutex } from "../../program/keyed_mutex.ts";
import { silentLog } from "../../program/testing.ts";
import { NodePrepareResourcesRequestSchema } from "../../proto/gen/dra/v1/api_pb.ts";
import type { PreparedClaim } from "./cdi.ts";
import type { ClaimFiles } from "./claim_files.ts";
import { createDriverMetrics } from "./metrics.ts";
import { createDriverService } from "./service.ts";

test("nodePrepareResources() writes nothing if the kubelet cancels the call while the claim is read", async () => {
  const stop = new AbortController();
  const written: PreparedClaim[] = [];
  const files: Partial<ClaimFiles> = {
    async write(claim, signal) {
      signal.throwIfAborted();
      written.push(claim);
    },
  };
  const share = { request: "gpu", driver: "bitfusion.io", pool: "pool", device: "gpu-aaaaaaaa" };
  const results = [{ ...share, consumedCapacity: { units: "60" } }];
  const reservedFor = [{ resource: "pods", name: "p", uid: "p-1" }];
  const service = createDriverService({
    files: files as ClaimFiles,
    readClaim: async () => {
      stop.abort();
      return {
        metadata: { name: "c", uid: "a-1" },
        spec: {},
        status: { allocation: { devices: { results } }, reservedFor },
      };
    },
    readPod: async () => undefined,
    mutex: createKeyedMutex(),
    log: silentLog,
    metrics: createDriverMetrics({ registry: new Registry(), preparedClaims: async () => 0 }),
  });
  const request = create(NodePrepareResourcesRequestSchema, { claims: [{ namespace: "n", name: "c", uid: "a-1" }] });
  await service.nodePrepareResources(request, { signal: stop.signal } as HandlerContext);
  expect(written).toEqual([]);
});
