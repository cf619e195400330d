import * as v from "valibot";
import { describeIssue } from "../program/text/describe_issue.ts";
import { MAX_FILTERS } from "./driver.ts";
import { EXPECTED_FILTER, type Filter, formatFilter, MAX_FILTER_LENGTH, parseFilter } from "./filter.ts";
import { isContainerName, isObjectName } from "./names.ts";
import { formatShare, parseShare, type Share } from "./share.ts";
import { UNITS_PER_GPU } from "./units.ts";

/** The annotation with which the webhook tells the controller which claims a pod needs. */
export const POD_CLAIMS_ANNOTATION = "bitfusion.io/claims";

/** A ResourceClaim that a pod needs: a share of the pool for some of its containers. */
export interface PodClaim {
  /** Name of the ResourceClaim. */
  readonly name: string;
  /** Names of the containers that use the claim. */
  readonly containers: readonly string[];
  readonly share: Share;
  /** Units of each of the share's GPUs. */
  readonly units: number;
  readonly filters: readonly Filter[];
  /** Set if all GPUs must be of one server. */
  readonly oneServer?: true;
  /** Name of the client that the webhook attached to the containers. */
  readonly client: string;
}

/** The most claims of one pod: more than any real pod has containers. */
const MAX_CLAIMS = 256;

/** Longest annotation that is read, in characters. */
const MAX_LENGTH = 65_536;

const EXPECTED_UNITS = `expected a whole number from 1 to ${UNITS_PER_GPU}`;
const EXPECTED_SHARE = "expected a share such as 1x50 or 2x8000mb";

const ObjectName = v.pipe(v.string(), v.check(isObjectName, "expected the name of an object"));
const ContainerName = v.pipe(v.string(), v.check(isContainerName, "expected a container name"));

function parsed<T>(parse: (text: string) => T | undefined, expected: string) {
  return v.pipe(
    v.string(),
    v.maxLength(MAX_FILTER_LENGTH, `expected at most ${MAX_FILTER_LENGTH} characters`),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const value = parse(dataset.value);
      if (value !== undefined) return value;
      addIssue({ message: expected });
      return NEVER;
    }),
  );
}

const PodClaims = v.pipe(
  v.array(
    v.pipe(
      v.strictObject({
        name: ObjectName,
        containers: v.pipe(v.array(ContainerName), v.minLength(1, "expected a container")),
        share: parsed(parseShare, EXPECTED_SHARE),
        units: v.pipe(
          v.number(EXPECTED_UNITS),
          v.integer(EXPECTED_UNITS),
          v.minValue(1, EXPECTED_UNITS),
          v.maxValue(UNITS_PER_GPU, EXPECTED_UNITS),
        ),
        filters: v.optional(
          v.pipe(
            v.array(parsed(parseFilter, EXPECTED_FILTER)),
            v.maxLength(MAX_FILTERS, `expected at most ${MAX_FILTERS} filters`),
          ),
          [],
        ),
        oneServer: v.exactOptional(v.literal(true, "expected true, or nothing")),
        client: v.pipe(v.string(), v.regex(/^[\w.-]{1,253}$/, "expected the name of a client")),
      }),
      v.forward(
        v.check(({ share, units }) => !("percent" in share) || share.percent === units, "expected the share's percent"),
        ["units"],
      ),
    ),
  ),
  v.maxLength(MAX_CLAIMS, `expected at most ${MAX_CLAIMS} claims`),
  v.check((claims) => new Set(claims.map(({ name }) => name)).size === claims.length, "expected different names"),
);

/** Formats the value of {@link POD_CLAIMS_ANNOTATION}, as JSON. */
export function formatPodClaims(claims: readonly PodClaim[]): string {
  return JSON.stringify(
    claims.map(({ name, containers, share, units, filters, oneServer, client }) => ({
      name,
      containers,
      share: formatShare(share),
      units,
      ...(filters.length > 0 ? { filters: filters.map(formatFilter) } : {}),
      ...(oneServer ? { oneServer } : {}),
      client,
    })),
  );
}

/**
 * Parses the output of {@link formatPodClaims}. Tenants can write the annotation, so the text may be anything.
 *
 * @throws {Error} names the field, its value and what is expected.
 */
export function parsePodClaims(text: string): PodClaim[] {
  if (text.length > MAX_LENGTH) {
    throw new Error(`${POD_CLAIMS_ANNOTATION} has ${text.length} characters: expected at most ${MAX_LENGTH}`);
  }
  const { success, output, issues } = v.safeParse(PodClaims, parseJson(text));
  if (!success) throw new Error(`${POD_CLAIMS_ANNOTATION}: ${describeIssue(issues[0])}`);
  return output;
}

/** The total units of claims on all their GPUs. */
export function unitsOfClaims(claims: readonly Pick<PodClaim, "share" | "units">[]): number {
  return claims.reduce((total, { share, units }) => total + share.gpus * units, 0);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the schema refuses a string
  }
}
