import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { Latest } from "../program/latest.ts";
import type { Logger } from "../program/log.ts";
import {
  type DevicePlugin,
  DevicePluginOptionsSchema,
  type DeviceSchema,
  ListAndWatchResponseSchema,
} from "../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import type { Unit } from "./devices.ts";

export interface DevicePluginServiceOptions {
  /** What to list; nothing is sent before the first value. */
  units: Latest<readonly Unit[]>;
  log: Logger;
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
  const { units, log, onList } = options;
  return {
    getDevicePluginOptions: () => create(DevicePluginOptionsSchema, OPTIONS),

    async *listAndWatch(_request, { signal }) {
      let first = true;
      try {
        for await (const list of units.changes(signal)) {
          log.info("Sending the list of units", countUnits(list));
          yield create(ListAndWatchResponseSchema, { devices: list.map(deviceOf) });
          if (first) onList("first");
          first = false;
        }
      } finally {
        onList("end");
      }
    },

    allocate({ containerRequests }) {
      const known = new Map((units.current ?? []).map((unit) => [unit.id, unit]));
      for (const { devicesIds } of containerRequests) checkIds(devicesIds, known);
      log.info("Allocated", { units: containerRequests.map(({ devicesIds }) => devicesIds.length) });
      return { containerResponses: containerRequests.map(() => ({})) };
    },
  };
}

/** An error ends the pod with UnexpectedAdmissionError, so each of these is one that no other unit could mend. */
function checkIds(ids: readonly string[], known: ReadonlyMap<string, Unit>): void {
  const seen = new Set<string>();
  for (const id of ids) {
    const unit = known.get(id);
    if (!unit) throw new ConnectError(`Unknown unit "${id}": the pool does not list its GPU`, Code.NotFound);
    if (!unit.healthy)
      throw new ConnectError(`Unhealthy unit "${id}": its GPU does not answer`, Code.FailedPrecondition);
    if (seen.has(id)) throw new ConnectError(`Unit "${id}" is asked for twice`, Code.InvalidArgument);
    seen.add(id);
  }
}

/** The spelling of the two states is the kubelet's (constants.go). */
function deviceOf({ id, healthy }: Unit): MessageInitShape<typeof DeviceSchema> {
  return { ID: id, health: healthy ? "Healthy" : "Unhealthy" };
}

export function countUnits(units: readonly Unit[]): { units: number; healthy: number } {
  return { units: units.length, healthy: units.filter(({ healthy }) => healthy).length };
}
