import { isDeepStrictEqual } from "node:util";
import type { Registry } from "prom-client";
import { createPoolSource } from "../../pool/sources/pool_source.ts";
import { staticSource } from "../../pool/sources/static_source.ts";
import type { Token } from "../../pool/token/token.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { createPluginMetrics } from "../metrics.ts";
import type { PluginSettings } from "../settings.ts";
import { listUnits, type UnitList } from "./devices.ts";
import { readHeldUnits } from "./held_units.ts";
import { runLifecycle } from "./lifecycle.ts";

/** A part of the program. */
export interface DevicePlugin {
  /** What the device plugin still waits for. Undefined if it is ready. */
  notReady(): string | undefined;
  /** Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export interface DevicePluginOptions {
  settings: PluginSettings;
  /** The pool's token, once it has been read. */
  token: Latest<Token>;
  /** The registry of its metrics. */
  registry: Registry;
  log: Logger;
}

/** The device plugin of a node: it reports to the kubelet how many units the pool has, and which are healthy. */
export function createDevicePlugin({ settings, token, registry, log }: DevicePluginOptions): DevicePlugin {
  const { resourceName, resourceNums, part, interval, servers, kubeletDirectory, socketName, nodeName } = settings;
  const units = createLatest<UnitList>();
  let isRegistered = false;
  const metrics = createPluginMetrics({
    registry,
    units: () => units.current,
    heldUnits: createHeldUnits(settings, log),
  });
  const onRoundTrip = (server: string, time: number) => metrics.roundTrips.observe({ server }, time / 1000);
  const source = servers
    ? createPoolSource(servers, { interval, token: (signal) => token.changes(signal), log, onRoundTrip })
    : staticSource;

  async function followPool(signal: AbortSignal): Promise<void> {
    for await (const inventory of source(signal)) {
      const list = listUnits(inventory, { resourceNums, part });
      if (isDeepStrictEqual(list, units.current)) continue;
      if (list.gpus.size === 0) log.warn("The pool has no units", { servers, resourceNums });
      if (list.unlisted > 0) log.warn("The pool has more units than this node may list", { unlisted: list.unlisted });
      units.set(list);
    }
  }

  return {
    notReady: () => (isRegistered ? undefined : "Not registered with the kubelet"),
    async run(signal) {
      if (part?.index === -1) log.warn("SPLIT_NODES does not name this node: it lists nothing", { node: nodeName });
      const ended = new AbortController();
      const untilEnded = AbortSignal.any([signal, ended.signal]);
      const lifecycle = runLifecycle({
        directory: kubeletDirectory,
        socketName,
        resourceName,
        units,
        log,
        metrics,
        onRegistered: (value) => {
          isRegistered = value;
        },
        signal: untilEnded,
      });
      const parts = [followPool(untilEnded), lifecycle];
      await Promise.all(parts.map((part) => part.finally(() => ended.abort()))); // the first part that ends stops the other
    },
  };
}

/** The units that pods hold. Undefined while the kubelet does not answer, which is logged once per reason. */
function createHeldUnits({ podResourcesSocket, resourceName }: PluginSettings, log: Logger) {
  let logged: string | undefined;
  return async () => {
    try {
      const held = await readHeldUnits(podResourcesSocket, resourceName);
      logged = undefined;
      return held;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== logged) log.warn("Cannot read from the kubelet which units pods hold", { reason });
      logged = reason;
      return undefined;
    }
  };
}
