import * as v from "valibot";
import { wholeNumber } from "../../program/configuration/fields.ts";
import { setting } from "../../program/environment.ts";

/** The part `metrics` of a server's configuration. Undefined: the server serves none. */
export const Metrics = v.optional(
  v.strictObject(
    {
      host: setting(
        v.optional(v.pipe(v.string("expected an IP address"), v.ip("expected an IP address")), "127.0.0.1"),
        "IP address of the port for metrics and probes, which anybody who reaches it can read: they name the pods of all clusters",
      ),
      port: setting(
        v.optional(wholeNumber({ min: 0, max: 65_535 }), 56_003),
        "Port for metrics and probes, which is open if there is a mapping `metrics`",
      ),
    },
    "expected a mapping, such as {}",
  ),
);
