import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { addressAttributes } from "../../pool/attributes.ts";
import { deviceName } from "../../pool/device_name.ts";
import { DRIVER } from "../../pool/driver.ts";

/** A pool server, and its GPUs. */
interface Server {
  readonly address: string;
  readonly gpus: readonly { readonly id: string }[];
}

/** A ResourceSlice with what the driver reads of it: the servers of its devices. */
export function sliceOf(name: string, servers: readonly Server[]): ResourceSlice {
  const devices = servers.flatMap(({ address, gpus }) =>
    gpus.map(({ id }) => ({
      name: deviceName(id),
      attributes: { server: { string: addressAttributes(address).server } },
    })),
  );
  return {
    metadata: { name },
    spec: { driver: DRIVER, pool: { name, generation: 1, resourceSliceCount: 1 }, devices },
  };
}
