import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { Latest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import { type DevicePlugin, DevicePluginOptionsSchema } from "../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { countUnits, gpuOf, type UnitList } from "./devices.ts";
import { listOf } from "./encoding.ts";
import type { PluginMetrics } from "./metrics.ts";

export interface DevicePluginServiceOptions {
  /** What to list; nothing is sent before the first value. */
  units: Latest<UnitList>;
  log: Logger;
  metrics: Pick<PluginMetrics, "listUpdates" | "allocations">;
  /** Told of each ListAndWatch stream once its first list is on its way, and of its end. */
  onList: (event: "first" | "end") => void;
}

/** The options that a plugin tells at registration and when asked: neither optional call is wanted. */
export const OPTIONS: MessageInitShape<typeof DevicePluginOptionsSchema> = {
  preStartRequired: false,
  getPreferredAllocationAvailable: false,
};

/** `v1beta1.DevicePlugin` over a list of units that changes. */
export function createDevicePluginService(
  options: DevicePluginServiceOptions,
): Partial<ServiceImpl<typeof DevicePlugin>> {
  const { units, log, metrics, onList } = options;
  return {
    getDevicePluginOptions: () => create(DevicePluginOptionsSchema, OPTIONS),

    async *listAndWatch(_request, { signal }) {
      let first = true;
      try {
        for await (const { gpus, unlisted } of units.changes(signal)) {
          log.info("Sending the list of units", { ...countUnits(gpus.values()), unlisted });
          yield listOf(gpus.values());
          metrics.listUpdates.inc();
          if (first) onList("first");
          first = false;
        }
      } finally {
        onList("end");
      }
    },

    allocate({ containerRequests }) {
      const observe = metrics.allocations.startTimer();
      let result = "refused";
      try {
        for (const { devicesIds } of containerRequests) checkIds(devicesIds, units.current);
        log.info("Allocated", { units: containerRequests.map(({ devicesIds }) => devicesIds.length) });
        result = "allocated";
        return { containerResponses: containerRequests.map(() => ({})) };
      } finally {
        observe({ result });
      }
    },
  };
}

/** An error ends the pod with UnexpectedAdmissionError, so each of these is one that no other unit could mend. */
function checkIds(ids: readonly string[], list: UnitList | undefined): void {
  const seen = new Set<string>();
  for (const id of ids) {
    const gpu = list && gpuOf(id, list);
    if (!gpu) throw new ConnectError(`Unknown unit "${id}": the pool does not list its GPU`, Code.NotFound);
    if (!gpu.healthy)
      throw new ConnectError(
        `Unhealthy unit "${id}": its GPU on ${gpu.server} does not answer`,
        Code.FailedPrecondition,
      );
    if (seen.has(id)) throw new ConnectError(`Unit "${id}" is asked for twice`, Code.InvalidArgument);
    seen.add(id);
  }
}
