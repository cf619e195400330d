import * as v from "valibot";
import { duration } from "../../program/configuration/fields.ts";
import { setting } from "../../program/environment.ts";

const Time = duration({ min: "100ms", max: "1h" });

/** The part `leases`: how long leases last. */
export const Leases = v.strictObject({
  timeToLive: setting(
    v.optional(Time, "5m"),
    "When a lease expires that the cluster's driver does not renew. A restart of the driver, the node or this server must not take longer",
  ),
  podTimeToLive: setting(v.optional(Time, "15s"), "When a lease expires that a pod took itself and does not renew"),
});
