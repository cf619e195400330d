import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../../grpc/client.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { PodResourcesLister } from "../../proto/gen/podresources/v1/api_pb.ts";

/** The units that one container holds. */
export interface HeldUnits {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  readonly units: number;
}

/** Time limit for the kubelet's answer, in ms. */
const TIMEOUT = 2000;

/**
 * The units that the containers of this node hold. The kubelet's PodResourcesLister is the source of truth, also after a crash of the
 * plugin (KEP-2043).
 *
 * @param socket path of the kubelet's pod-resources socket
 * @throws {ConnectError} if the kubelet does not answer.
 */
export async function readHeldUnits(socket: string, resourceName: string): Promise<HeldUnits[]> {
  using kubelet = connectUnix(socket);
  const { podResources } = await createClient(PodResourcesLister, kubelet.transport).list({}, { timeoutMs: TIMEOUT });
  return podResources.flatMap(({ namespace, name: pod, containers }) =>
    containers
      .map(({ name: container, devices }) => {
        const own = devices.filter((each) => each.resourceName === resourceName);
        const units = own.reduce((sum, { deviceIds }) => sum + deviceIds.length, 0);
        return { namespace, pod, container, units };
      })
      .filter(({ units }) => units > 0),
  );
}

export interface LeftoverUnitsOptions {
  /** Path of the kubelet's pod-resources socket. */
  socket: string;
  resourceName: string;
  log: Logger;
  /** Time between two calls, in ms. The controller takes twice as long to see that a node is free of such pods. */
  period?: number;
  /** How long to call at least, in ms: longer than the kubelet remembers a device plugin that has ended. */
  duration?: number;
}

/**
 * Has the kubelet forget the units of a device plugin that ran here before a change to claims, once their pods have ended: it fails each new pod with
 * units while it knows of any, and it looks which pods have ended only when it is asked who holds devices (UpdateAllocatedDevices,
 * k8s.io/kubernetes/pkg/kubelet/apis/podresources/server_v1.go). Returns when the signal is aborted.
 */
export async function forgetLeftoverUnits(options: LeftoverUnitsOptions, signal: AbortSignal): Promise<void> {
  const { socket, resourceName, log, period = 10_000, duration = 600_000 } = options;
  const start = performance.now();
  let logged: string | undefined;
  const report = (message: string, properties: Record<string, unknown>) => {
    const line = `${message} ${JSON.stringify(properties)}`;
    if (line !== logged) log.info(message, properties);
    logged = line;
  };
  let isLeft = true;
  while (!signal.aborted && (isLeft || performance.now() - start < duration)) {
    try {
      const pods = new Set(
        (await readHeldUnits(socket, resourceName)).map(({ namespace, pod }) => `${namespace}/${pod}`),
      );
      isLeft = pods.size > 0;
      if (isLeft)
        report("The node takes no new pods with a share until those with units of the device plugin have ended", {
          pods: pods.size,
        });
    } catch (error) {
      report("Cannot ask the kubelet which pods hold units", { reason: messageOf(error) });
    }
    await sleep(period, undefined, { signal }).catch(() => {}); // rejects only when aborted
  }
  if (!signal.aborted) await once(signal, "abort");
}
