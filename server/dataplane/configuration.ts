import * as v from "valibot";
import { gpuMemory } from "../../kubernetes/formats/gpu_memory.ts";
import { DataPlaneBuild, DataPlaneName } from "../../pool/requests/data_plane.ts";
import { setting } from "../../program/environment.ts";
import { isLimiterVariable, LIMITS, type Limiter as LimiterConfiguration } from "./limiter.ts";
import { findUnknownPlaceholder, PLACEHOLDERS } from "./placeholders.ts";

/** What runs for each lease. Command and environment have placeholders. */
export interface DataPlaneConfiguration {
  readonly name: string;
  /** Clients must be of the same build. */
  readonly build: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Undefined: nothing keeps a process within its share before it has used more. */
  readonly limiter?: LimiterConfiguration | undefined;
  /** The folder in which each lease has its own. */
  readonly folder: string;
  /** The first of the {@link UID_COUNT} uids that the processes have. */
  readonly firstUid: number;
  /** How much memory a process may use of each of its GPUs beyond its share, in MB. */
  readonly memoryTolerance: number;
}

/** A uid for each lease that can be held at once: one percent of each of 1024 GPUs. */
export const UID_COUNT = 102_400;

const MAX_FIRST_UID = 2 ** 32 - 2 - UID_COUNT;
const EXPECTED_UID = `expected the first of ${UID_COUNT} uids that nothing else uses, from 1000 to ${MAX_FIRST_UID}`;
const EXPECTED_PLACEHOLDER = `expected no placeholders but ${PLACEHOLDERS.map((name) => `{${name}}`).join(", ")}`;
const EXPECTED_COMMAND = "expected a list: a program and its arguments";

const Template = v.pipe(
  v.string("expected text, in quotes where it is a number"),
  v.check((text) => !text.includes("\0"), "expected text without zero bytes"),
  v.check((text) => findUnknownPlaceholder(text) === undefined, EXPECTED_PLACEHOLDER),
);

const Command = v.pipe(v.array(Template, EXPECTED_COMMAND), v.minLength(1, EXPECTED_COMMAND));

const Environment = v.record(
  v.pipe(v.string(), v.regex(/^[A-Za-z_]\w*$/, "expected the name of a variable")),
  Template,
  "expected a mapping of names to texts",
);

const EXPECTED_LIBRARY = "expected an absolute path, not in /tmp, /var/tmp or /dev/shm, which processes do not see";

const Limiter = v.strictObject(
  {
    library: setting(
      v.pipe(
        v.string(EXPECTED_LIBRARY),
        v.regex(/^\/(?!(tmp|var\/tmp|dev\/shm)\/)[^\s:]+$/, EXPECTED_LIBRARY), // LD_PRELOAD separates libraries by white space and colons
      ),
      "A library that limits what processes use of GPUs by the variables of HAMi-core (`libvgpu.so`). Each process loads it (`LD_PRELOAD`)",
    ),
    limits: setting(
      v.optional(v.picklist(LIMITS, `expected ${LIMITS.join(" or ")}`), "memory"),
      "What it limits, `memory` or `memory-and-compute`: the `isolation` of the GPUs",
    ),
  },
  "expected a mapping with the key library",
);

const common = {
  build: setting(DataPlaneBuild, "The build, as the clients that match it name theirs"),
  environment: setting(
    v.optional(Environment, {}),
    "The environment variables of the process, with placeholders. Nothing of the server's environment but `PATH` is passed on",
  ),
};

const Lupine = v.strictObject({
  ...common,
  command: setting(
    v.optional(Command, ["lupine_driver_server"]),
    "The program of Lupine's server, and its arguments, with placeholders",
  ),
});

const Custom = v.strictObject({
  name: setting(DataPlaneName, "The name of the data plane"),
  ...common,
  command: setting(Command, "The program and its arguments, with placeholders. There is no shell"),
});

/** The variables that Lupine's server reads. */
const LUPINE_ENVIRONMENT = { LUPINE_PORT: "{port}", CUDA_VISIBLE_DEVICES: "{gpuUuids}" };

const EXPECTED = "expected a mapping with the key lupine or custom";
const EXPECTED_ENVIRONMENT =
  "expected an environment without LD_PRELOAD, CUDA_REDIRECT, CUDA_DEVICE_MEMORY_* and CUDA_DEVICE_SM_LIMIT*: the limiter sets them";

/** The part `dataPlane` of a server's configuration. Undefined: GPUs are leased, and the server forwards no calls. */
export const DataPlane = v.optional(
  v.pipe(
    v.strictObject(
      {
        lupine: v.optional(Lupine),
        custom: v.optional(Custom),
        limiter: v.optional(Limiter),
        folder: setting(
          v.optional(
            v.pipe(v.string("expected an absolute path"), v.startsWith("/", "expected an absolute path")),
            "/run/bitfusion-server",
          ),
          "The folder in which each lease has a folder while it lasts. Only this server may use it. Not in `/tmp` or `/var/tmp`, which processes do not see",
        ),
        firstUid: setting(
          v.optional(
            v.pipe(
              v.number(EXPECTED_UID),
              v.integer(EXPECTED_UID),
              v.minValue(1000, EXPECTED_UID),
              v.maxValue(MAX_FIRST_UID, EXPECTED_UID),
            ),
            2_000_000_000,
          ),
          `The first of ${UID_COUNT} uids. Each process has one of its own. At its start, the server ends all processes that have one of them`,
        ),
        memoryTolerance: setting(
          v.optional(v.pipe(v.union([v.string(), v.number()]), v.transform(String), gpuMemory()), "512M"),
          "How much memory of each of its GPUs a process may use beyond its share, in MB or as a quantity: a CUDA context takes some hundred MB. The server ends a process that uses more for ten seconds",
        ),
      },
      EXPECTED,
    ),
    v.check(({ lupine, custom }) => (lupine === undefined) !== (custom === undefined), EXPECTED),
    v.transform(({ lupine, custom, ...common }): DataPlaneConfiguration | undefined =>
      lupine
        ? { name: "lupine", ...common, ...lupine, environment: { ...LUPINE_ENVIRONMENT, ...lupine.environment } }
        : custom && { ...common, ...custom },
    ),
    v.check(
      (plane) => !plane?.limiter || !Object.keys(plane.environment).some(isLimiterVariable),
      EXPECTED_ENVIRONMENT,
    ),
  ),
);
