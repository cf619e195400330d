import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { Latest } from "../../program/latest.ts";
import type { Logger } from "../../program/log/log.ts";
import { type DevicePlugin, DevicePluginOptionsSchema } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import type { PluginMetrics } from "../metrics.ts";
import { countUnits, gpuOf, type UnitList } from "./devices.ts";
import { encodeList } from "./encoding.ts";

export interface DevicePluginServiceOptions {
  /** The current list. Nothing is sent before there is one. */
  units: Latest<UnitList>;
  log: Logger;
  metrics: Pick<PluginMetrics, "listUpdates" | "allocations">;
  /** Called for each ListAndWatch stream once its first list is sent, and when it ends. */
  onList: (event: "first" | "end") => void;
}

/** The plugin's options. It needs neither of the optional calls. */
export const OPTIONS: MessageInitShape<typeof DevicePluginOptionsSchema> = {
  preStartRequired: false,
  getPreferredAllocationAvailable: false,
};

/** `v1beta1.DevicePlugin` for a list of units that changes. */
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
          yield encodeList(gpus.values());
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

/** An error ends the pod with UnexpectedAdmissionError, so it is thrown only where no other unit would help. */
function checkIds(ids: readonly string[], list: UnitList | undefined): void {
  const seen = new Set<string>();
  for (const id of ids) {
    const gpu = list && gpuOf(id, list);
    if (!gpu) throw new ConnectError(`Unknown unit "${id}": the pool does not list its GPU`, Code.NotFound);
    if (!gpu.healthy) {
      const reason = `its GPU on ${gpu.server} is unhealthy or unreachable`;
      throw new ConnectError(`Unhealthy unit "${id}": ${reason}`, Code.FailedPrecondition);
    }
    if (seen.has(id)) throw new ConnectError(`Unit "${id}" is requested twice`, Code.InvalidArgument);
    seen.add(id);
  }
}
