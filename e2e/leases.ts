import * as v from "valibot";
import { exec } from "./exec.ts";
import { SERVERS } from "./pool.ts";

const Granted = v.object({
  message: v.literal("Lease granted"),
  owner: v.object({ namespace: v.string(), pod: v.string(), container: v.string() }),
  gpus: v.array(v.object({ gpuId: v.string(), units: v.number() })),
});

/** The leases that a pod has had, as the servers' own logs say. */
export async function leasesOf(namespace: string, pod: string): Promise<v.InferOutput<typeof Granted>[]> {
  const logs = await Promise.all(SERVERS.map(({ name }) => exec(["docker", "logs", name])));
  return logs
    .flatMap((log) => log.split("\n"))
    .filter((line) => line.startsWith("{"))
    .flatMap((line) => {
      const { success, output } = v.safeParse(Granted, JSON.parse(line));
      return success && output.owner.namespace === namespace && output.owner.pod === pod ? [output] : [];
    });
}
