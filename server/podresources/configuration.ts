import * as v from "valibot";
import { setting } from "../../program/environment.ts";

const EXPECTED = "expected an absolute path of at most 107 bytes";

/** The part `podResources`. Undefined: the server tells nobody on its machine who uses the GPUs. */
export const PodResources = v.optional(
  v.strictObject({
    socket: setting(
      v.pipe(
        v.string(EXPECTED),
        v.startsWith("/", EXPECTED),
        v.maxBytes(107, EXPECTED), // sizeof(sun_path) without the final NUL (unix(7))
      ),
      "Unix socket on which the server tells, as a kubelet does, which pods use its GPUs, such as to dcgm-exporter. Only the server's user and group, and root, may use it",
    ),
  }),
);
