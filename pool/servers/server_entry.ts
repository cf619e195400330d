import { isDeepStrictEqual } from "node:util";
import * as v from "valibot";
import { isLabelKey, LABEL_VALUE } from "../../kubernetes/formats/label.ts";
import { EXPECTED_ADDRESS, isAddress } from "../address.ts";

/** Labels of nodes, with their values. */
export type NodeLabels = Readonly<Record<string, string>>;

/** A pool server as the settings name it. */
export interface ServerEntry {
  /** host:port. */
  readonly address: string;
  /** Only nodes with these labels reach the server. Absent: all nodes do. */
  readonly nodes?: NodeLabels;
}

/** The most labels of an entry. */
const MAX_LABELS = 8;

const EXPECTED_LABELS = `expected 1 to ${MAX_LABELS} labels of nodes with their values, in quotes where they are numbers, such as topology.kubernetes.io/zone=a`;

/** The expected form of a list of servers, for error messages. */
export const EXPECTED_SERVERS = `${EXPECTED_ADDRESS}, several separated by commas, each of them once. Labels of the nodes that reach a server can follow it, such as server-a:56001 topology.kubernetes.io/zone=a`;

/** Labels of nodes, as a mapping. */
export const NodeLabels = v.pipe(
  v.record(v.string(), v.string(EXPECTED_LABELS), EXPECTED_LABELS),
  v.check(areNodeLabels, EXPECTED_LABELS),
);

/** A setting with the pool servers, separated by commas, each with the labels of the nodes that reach it. The output has no duplicates. */
export function poolServers() {
  return v.pipe(
    v.string(),
    v.rawTransform<string, ServerEntry[]>(({ dataset: { value }, addIssue, NEVER }) => {
      const entries = value.split(",").map(parseEntry);
      const servers = entries.every((entry) => entry !== undefined) ? withoutRepeats(entries) : undefined;
      if (servers) return servers;
      addIssue({ message: EXPECTED_SERVERS });
      return NEVER;
    }),
  );
}

/** Parses `host:port` and labels in the form key=value, separated by spaces. */
function parseEntry(text: string): ServerEntry | undefined {
  const [address = "", ...labels] = text.trim().split(/\s+/);
  const pairs = labels.map((label) => label.split("="));
  if (!isAddress(address) || !pairs.every(({ length }) => length === 2)) return undefined;
  if (pairs.length === 0) return { address };
  const nodes: NodeLabels = Object.fromEntries(pairs);
  const isUnique = Object.keys(nodes).length === pairs.length;
  return isUnique && areNodeLabels(nodes) ? { address, nodes } : undefined;
}

/** The entries, of which equal ones count once. Undefined if two entries of a server have different labels. */
export function withoutRepeats(entries: readonly ServerEntry[]): ServerEntry[] | undefined {
  const byAddress = new Map<string, ServerEntry>();
  for (const entry of entries) {
    if (!isDeepStrictEqual(byAddress.get(entry.address) ?? entry, entry)) return undefined;
    byAddress.set(entry.address, entry);
  }
  return [...byAddress.values()];
}

function areNodeLabels(labels: NodeLabels): boolean {
  const entries = Object.entries(labels);
  if (entries.length < 1 || entries.length > MAX_LABELS) return false;
  return entries.every(([key, value]) => isLabelKey(key) && LABEL_VALUE.test(value));
}
