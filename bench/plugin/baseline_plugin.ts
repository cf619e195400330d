import { create } from "@bufbuild/protobuf";
import { serveGrpc } from "../../grpc/server.ts";
import { createLatest } from "../../program/latest.ts";
import { DevicePlugin, ListAndWatchResponseSchema } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";

const { SOCKET = "", UNITS = "0" } = process.env;

/** Created once: only the sending is measured. */
const list = create(ListAndWatchResponseSchema, {
  devices: Array.from({ length: Number(UNITS) }, (_, unit) => ({
    ID: `${String(Math.floor(unit / 100)).padStart(8, "0")}-${String(unit % 100).padStart(2, "0")}`,
    health: "Healthy",
  })),
});
const changes = createLatest({ list });

/** The minimum of a plugin or driver on Connect: sends a list for each byte of standard input, and responds to calls. */
await serveGrpc({
  listen: { path: SOCKET },
  routes: (router) => {
    router.service(DRAPlugin, {
      nodePrepareResources: ({ claims }) => ({ claims: Object.fromEntries(claims.map(({ uid }) => [uid, {}])) }),
    });
    router.service(DevicePlugin, {
      async *listAndWatch(_, { signal }) {
        for await (const change of changes.changes(signal)) yield change.list;
      },
      allocate: ({ containerRequests }) => ({ containerResponses: containerRequests.map(() => ({})) }),
    });
  },
});
console.log("Serving");
for await (const _ of Bun.stdin.stream()) changes.set({ list });
process.exit();
