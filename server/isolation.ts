import type { Limiter } from "./dataplane/limiter.ts";
import type { ServerGpu } from "./gpus/gpu.ts";

/** What keeps the leases of a GPU apart: the values of `Gpu.isolation` in pool.proto. */
export type Isolation = "none" | Limiter["limits"] | "mig";

/**
 * What keeps the leases of a GPU apart. That the server ends processes that keep too much memory does not count: others may lack it until then.
 *
 * @param limits what the limiter of the server's data plane limits. Undefined: it has none.
 */
export function isolationOf(
  { instance }: Pick<ServerGpu, "instance">,
  limits: Limiter["limits"] | undefined,
): Isolation {
  return instance ? "mig" : (limits ?? "none");
}
