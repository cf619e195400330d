import * as v from "valibot";
import { parse } from "yaml";
import { ConfigError } from "../../program/config_error.ts";
import { describeIssue } from "../../program/text/describe_issue.ts";

/** The configuration of a pool server, as its YAML file describes it. Paths are as written there. */
export interface ServerConfiguration {
  readonly tls: TlsPaths;
  readonly clients: readonly ClientRules[];
}

export interface TlsPaths {
  /** The CAs of the clients. The first is that of the server's certificate. */
  readonly ca: string;
  /** The key of the CA, with which the server makes its own certificate. */
  readonly caKey?: string | undefined;
  /** Instead of `caKey`: the server's certificate and key. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** The hosts that the certificate made with `caKey` is for. Undefined: the server's own name. */
  readonly hosts?: readonly string[] | undefined;
}

/** What one cluster may do. */
export interface ClientRules {
  /** The name in its certificate. */
  readonly name: string;
  /** The numbers of its GPUs, from 0. No other client sees these GPUs. */
  readonly gpus: "all" | readonly number[];
  /** The most units that its pods may hold together by leases that they take themselves. */
  readonly podUnits: number;
}

/** The highest number of a GPU. */
const MAX_GPU = 1023;
const EXPECTED_GPUS = `expected all, or a list of numbers and ranges from 0 to ${MAX_GPU}, such as [0, 2-3]`;
const EXPECTED_NAME = "expected 1 to 63 letters, digits, dots, dashes and underscores";
const EXPECTED_UNITS = `expected a whole number of units from 0 to ${100 * (MAX_GPU + 1)}`;

/** The name of a client: the common name of a certificate has at most 64 characters. */
export const ClientName = v.pipe(v.string(EXPECTED_NAME), v.regex(/^[A-Za-z0-9][\w.-]{0,62}$/, EXPECTED_NAME));

const Path = v.pipe(v.string("expected a path"), v.nonEmpty("expected a path"));

const GpuNumber = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_GPU));

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
      v.array(v.union([GpuNumber, Range])),
      v.transform((items) => items.flat()),
    ),
  ],
  EXPECTED_GPUS,
);

const Client = v.strictObject({
  name: ClientName,
  gpus: Gpus,
  podUnits: v.optional(
    v.pipe(
      v.number(EXPECTED_UNITS),
      v.integer(EXPECTED_UNITS),
      v.minValue(0, EXPECTED_UNITS),
      v.maxValue(100 * (MAX_GPU + 1), EXPECTED_UNITS),
    ),
    0,
  ),
});

const Configuration = v.strictObject(
  {
    tls: v.strictObject({
      ca: Path,
      caKey: v.optional(Path),
      cert: v.optional(Path),
      key: v.optional(Path),
      hosts: v.optional(
        v.pipe(
          v.array(v.pipe(v.string(), v.regex(/^[A-Za-z0-9._:-]+$/, "expected a host name or an IP address"))),
          v.minLength(1, "expected at least one host"),
        ),
      ),
    }),
    clients: v.array(Client, "expected a list of clients"),
  },
  "expected a mapping with the keys tls and clients",
);

/**
 * Parses the configuration of a pool server.
 *
 * @param path for error messages.
 * @throws {ConfigError} names the file, the field, its value and what is expected.
 */
export function parseConfiguration(text: string, path: string): ServerConfiguration {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new ConfigError(`Cannot read ${path}: ${(error as Error).message.split("\n")[0]}`);
  }
  const { success, output, issues } = v.safeParse(Configuration, document);
  if (!success) throw new ConfigError(`Cannot use ${path}: ${describeIssue(issues[0])}`);
  const problem = findTlsProblem(output.tls) ?? findClientProblem(output.clients);
  if (problem) throw new ConfigError(`Cannot use ${path}: ${problem}`);
  return output;
}

function findTlsProblem({ caKey, cert, key }: TlsPaths): string | undefined {
  if (caKey === undefined ? cert && key : !cert && !key) return undefined;
  return "tls: expected caKey, or cert and key";
}

/** Why two clients exclude each other. */
function findClientProblem(clients: readonly ClientRules[]): string | undefined {
  for (const [index, client] of clients.entries()) {
    for (const [earlierIndex, earlier] of clients.slice(0, index).entries()) {
      if (earlier.name === client.name) {
        return `clients.${index}.name is "${client.name}", as clients.${earlierIndex}.name: expected different names`;
      }
      const shared = findShared(earlier.gpus, client.gpus);
      if (shared === undefined) continue;
      return `clients.${index}.gpus and clients.${earlierIndex}.gpus both have GPU ${shared}: expected one client for each GPU`;
    }
  }
  return undefined;
}

/** The first GPU that is in both. */
function findShared(a: ClientRules["gpus"], b: ClientRules["gpus"]): number | undefined {
  if (a === "all") return b === "all" ? 0 : b[0];
  return a.find((gpu) => b === "all" || b.includes(gpu));
}
