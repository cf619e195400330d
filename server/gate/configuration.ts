import * as v from "valibot";
import { wholeNumber } from "../../program/configuration/fields.ts";
import { setting } from "../../program/environment.ts";

/** The part `gate`: how the users of leases reach their data-plane processes. */
export const Gate = v.strictObject({
  port: setting(
    v.optional(wholeNumber({ min: 0, max: 65_535 }), 56_002),
    "Port of the gate, which is open if there is a `dataPlane`",
  ),
});
