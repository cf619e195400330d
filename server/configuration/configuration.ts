import { hostname } from "node:os";
import { isDeepStrictEqual } from "node:util";
import * as v from "valibot";
import { wholeNumber } from "../../program/configuration/fields.ts";
import { parseFile } from "../../program/configuration/parse_file.ts";
import { setting } from "../../program/environment.ts";
import { DataPlane } from "../dataplane/configuration.ts";
import { Gate } from "../gate/configuration.ts";
import { Gpus } from "../gpus/configuration.ts";
import { Leases } from "../leases/configuration.ts";
import { Metrics } from "../metrics/configuration.ts";
import { PodResources } from "../podresources/configuration.ts";
import { Clients } from "./clients.ts";
import { Tls } from "./tls.ts";

const EXPECTED_NAME = "expected 1 to 253 letters, digits, dots, dashes and underscores";

const Listen = v.strictObject({
  host: setting(
    v.optional(v.pipe(v.string("expected an IP address"), v.ip("expected an IP address"))),
    "IP address of the pool API. Default: all addresses",
  ),
  port: setting(v.optional(wholeNumber({ min: 0, max: 65_535 }), 56_001), "Port of the pool API"),
});

/** The configuration file of a pool server. Each part has its schema beside the code that it is for. */
export const Configuration = v.pipe(
  v.strictObject(
    {
      name: setting(
        v.optional(v.pipe(v.string(EXPECTED_NAME), v.regex(/^[A-Za-z0-9][\w.-]{0,252}$/, EXPECTED_NAME)), hostname),
        "The server's own name. The ids of simulated GPUs contain it and `listen.port`, so a restart must change neither. Default: the host name",
      ),
      listen: v.optional(Listen, {}),
      gpus: Gpus,
      hasRdma: setting(
        v.optional(v.boolean("expected true or false"), false),
        "Whether the server reports support for RDMA, for filters",
      ),
      leases: v.optional(Leases, {}),
      state: setting(
        v.optional(v.pipe(v.string("expected a path"), v.nonEmpty("expected a path"))),
        "Folder in which the server keeps its leases, with their secrets, so that it knows them after a restart. Default: it does not, the drivers take theirs again, and those that pods took themselves end",
      ),
      dataPlane: DataPlane,
      gate: v.optional(Gate, {}),
      podResources: PodResources,
      metrics: Metrics,
      tls: Tls,
      clients: Clients,
      drain: setting(
        v.optional(v.boolean("expected true or false"), false),
        "Whether the server is drained before it stops: it gets no new pods, and says in its log when the last lease has ended",
      ),
    },
    "expected a mapping with the keys gpus, tls and clients",
  ),
  v.forward(
    v.check(
      ({ gpus, clients }) => !("nvidia" in gpus) || !clients.some(({ gpus }) => gpus !== "all" && gpus.some(isNumber)),
      "expected UUIDs of GPUs, as nvidia-smi -L shows them, or all: with gpus.nvidia, numbers may change when the machine restarts",
    ),
    ["clients"],
  ),
);

function isNumber(gpu: number | string): boolean {
  return typeof gpu === "number";
}

/** Durations are in ms, memory is in MB. Paths are as written in the file. */
export type ServerConfiguration = v.InferOutput<typeof Configuration>;

/** The parts that a server uses as they were when it started. It takes over the others when they change. */
export type FixedParts = Omit<ServerConfiguration, "tls" | "clients" | "drain">;

/**
 * Parses the configuration of a pool server.
 *
 * @param path for error messages.
 * @throws {ConfigError} names the file, the field, its value and what is expected.
 */
export function parseConfiguration(text: string, path: string): ServerConfiguration {
  return parseFile(Configuration, text, path);
}

/** The parts that have changed, but that a server does not use before it is started again. */
export function partsForRestart(used: FixedParts, changed: FixedParts): string[] {
  const { tls: _tls, clients: _clients, drain: _drain, ...fixed } = Configuration.entries;
  const parts = Object.keys(fixed) as (keyof FixedParts)[];
  return parts.filter((part) => !isDeepStrictEqual(used[part], changed[part]));
}
