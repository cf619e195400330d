import * as v from "valibot";
import { wholeNumber } from "../../program/configuration/fields.ts";
import { setting } from "../../program/environment.ts";

/** What one cluster may do. */
export interface ClientRules {
  /** The name in its certificate. */
  readonly name: string;
  /** The numbers, from 0, or the UUIDs of its GPUs. No other client sees these GPUs. */
  readonly gpus: "all" | readonly (number | string)[];
  /** The most units that its pods may hold together by leases that they take themselves. */
  readonly podUnits: number;
}

/** The highest number of a GPU. */
const MAX_GPU = 1023;
const EXPECTED_GPUS = `expected all, a list of UUIDs, or a list of numbers and ranges from 0 to ${MAX_GPU}, such as [0, 2-3]`;
const EXPECTED_NAME = "expected 1 to 63 letters, digits, dots, dashes and underscores";

/** The name of a client: the common name of a certificate has at most 64 characters. */
export const ClientName = v.pipe(v.string(EXPECTED_NAME), v.regex(/^[A-Za-z0-9][\w.-]{0,62}$/, EXPECTED_NAME));

const GpuNumber = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_GPU));

const Uuid = v.pipe(v.string(), v.regex(/^(GPU|MIG)-[\w/-]{1,90}$/));

const Range = v.pipe(
  v.string(),
  v.regex(/^\d{1,4}-\d{1,4}$/),
  v.transform((text) => text.split("-").map(Number) as [number, number]),
  v.check(([from, to]) => from <= to && to <= MAX_GPU),
  v.transform(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index)),
);

const Gpus = v.union(
  [
    v.literal("all"),
    v.pipe(
      v.array(v.union([GpuNumber, Range, Uuid])),
      v.transform((items) => items.flat()),
    ),
  ],
  EXPECTED_GPUS,
);

const Client = v.strictObject({
  name: setting(ClientName, "The name in the cluster's token"),
  gpus: setting(
    Gpus,
    "`all`, or a list of its GPUs. NVIDIA's: their UUIDs. Simulated ones: numbers from 0, such as `[0-3, 6]`. A GPU belongs to one client at most",
  ),
  podUnits: setting(
    v.optional(wholeNumber({ min: 0, max: 100 * (MAX_GPU + 1), of: "units" }), 0),
    "The most units (percent of a GPU) that its pods may hold together by leases that they take themselves",
  ),
});

/** The part `clients`: what each cluster may do. */
export const Clients = v.pipe(
  v.array(Client, "expected a list of clients"),
  v.rawCheck(({ dataset, addIssue }) => {
    const message = dataset.typed ? findProblem(dataset.value) : undefined;
    if (message) addIssue({ message });
  }),
);

/** Why two clients exclude each other. */
function findProblem(clients: readonly ClientRules[]): string | undefined {
  for (const [index, client] of clients.entries()) {
    for (const [earlierIndex, earlier] of clients.slice(0, index).entries()) {
      const both = `clients.${earlierIndex} and clients.${index} both`;
      if (earlier.name === client.name) return `expected different names, but ${both} have "${client.name}"`;
      const shared = findShared(earlier.gpus, client.gpus);
      if (shared !== undefined) return `expected one client for each GPU, but ${both} have GPU ${shared}`;
    }
  }
  return undefined;
}

/** The first GPU that is in both. */
function findShared(a: ClientRules["gpus"], b: ClientRules["gpus"]): number | string | undefined {
  if (a === "all") return b === "all" ? 0 : b[0];
  return a.find((gpu) => b === "all" || b.includes(gpu));
}
