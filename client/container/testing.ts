import { createClient } from "@connectrpc/connect";
import { connectTls } from "../../grpc/client.ts";
import type { LeaseProof } from "../../pool/lease_folder.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { TEST_CLIENT } from "../../tls/testing.ts";

/** Takes a lease on half of a GPU, as the driver does, for tests. */
export async function takeLease(address: string, gpuId: string): Promise<LeaseProof> {
  using channel = connectTls(address, TEST_CLIENT);
  const { lease, secret, gate } = await createClient(PoolService, channel.transport).claim({
    gpus: 1,
    gpuIds: [gpuId],
    share: { case: "percent", value: 50 },
  });
  return { address, leaseId: lease?.id ?? "", secret, gatePort: gate?.port };
}
