import * as v from "valibot";
import { setting } from "../program/environment.ts";

/** The variables of a pool server. Everything else is in its configuration file. */
export const SETTINGS = {
  CONFIG_FILE: setting(v.optional(v.string(), "/etc/bitfusion/server.yaml"), "The configuration file of the server"),
};
