import { createClient } from "@connectrpc/connect";
import { connectUnix } from "../grpc/client.ts";
import { PodResourcesLister } from "../proto/gen/podresources/v1/api_pb.ts";

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
